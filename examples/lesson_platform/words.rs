//! Words of a text, as the index and the metadata count them.

use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Words so common that they say nothing about a text.
const COMMON: &str = "\
    about after again all also and another any are back because been before being both but can \
    could did does done each else even every for from gets goes had has have her here his how \
    into its just know like made make makes many may more most much must need needs never \
    nobody not nothing now off once one only other others our out over own same see she should \
    so some something still such than that the their them then there these they thing things \
    this those three time too two until upon use very was way well were what when where which \
    while who whom why will with without would you your";

/// The words of a text in lower case, in order. Apostrophes join: `don't` is one word.
pub(crate) fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    text.split(|c: char| !c.is_alphanumeric() && c != '\'' && c != '\u{2019}')
        .map(|word| word.trim_matches(['\'', '\u{2019}']))
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
}

/// Whether a word says something about the text it is in.
pub(crate) fn is_keyword(word: &str) -> bool {
    static SET: LazyLock<BTreeSet<&str>> = LazyLock::new(|| COMMON.split_whitespace().collect());
    word.chars().count() > 2 && !word.chars().all(|c| c.is_ascii_digit()) && !SET.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_lower_case_and_keep_their_apostrophes() {
        let found: Vec<String> = words("Don't (stop) 'now', `Ask<M>`: 41\u{2014}yes").collect();
        assert_eq!(found, ["don't", "stop", "now", "ask", "m", "41", "yes"]);
    }

    #[test]
    fn common_and_short_words_are_no_keywords() {
        assert!(is_keyword("mailbox") && is_keyword("ask"));
        assert!(!is_keyword("the") && !is_keyword("is") && !is_keyword("2026"));
    }
}
