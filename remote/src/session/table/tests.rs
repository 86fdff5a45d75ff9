use super::*;

fn open<'a>(name: &'a str, type_name: &'a str) -> Open<'a> {
    Open {
        version: 1,
        schemas: (0, 0),
        name,
        type_name,
    }
}

#[test]
fn g36_numbers_leave_no_gap_and_end_somewhere() {
    let mut table = Table::default();
    assert!(table.open(1, &open("a", "t"), 10).is_err());
    for number in 0..MOST_SLOTS as u64 {
        assert!(table.open(number, &open("a", "t"), 10).is_ok());
    }
    assert!(table.open(MOST_SLOTS as u64, &open("a", "t"), 10).is_err());
    assert!(table.open(u64::MAX, &open("a", "t"), 10).is_err());
    assert!(table.open(7, &open("b", "t"), 10).is_ok());
}

#[test]
fn g03_numbers_that_are_given_anew_leave_nothing_behind() {
    let mut table = Table::default();
    for turn in 0..1_000 {
        for number in 0..3 {
            let name = format!("{turn}.{number}");
            table.open(number, &open(&name, "t"), 10).unwrap();
        }
    }
    assert_eq!(table.names.len(), 3);
    assert!(table.slots.entries.len() <= 4 && table.lines.entries.len() <= 4);
    assert_eq!(table.lines().count(), 3);
}

#[test]
fn g02_what_waits_keeps_its_line_when_its_number_is_given_anew() {
    let mut table = Table::default();
    let line = table.open(0, &open("a", "t"), 10).unwrap().line;
    let (before, _) = table.find(0).unwrap();
    table.waits(before);
    table.waits(before);
    table.open(0, &open("b", "t"), 10).unwrap();
    assert_ne!(table.find(0).unwrap().0, before);
    // The old one is still there, and who comes for its name stands behind it.
    assert_eq!(table.slot(before).unwrap().name(), "a");
    assert_eq!(table.open(1, &open("a", "u"), 10).unwrap().line, line);
    table.waits_no_more(before);
    assert!(table.slot(before).is_some());
    table.waits_no_more(before);
    assert!(table.slot(before).is_none_or(|slot| slot.name() != "a"));
    let (other, _) = table.find(1).unwrap();
    assert_eq!(&*table.line(other).unwrap().name, "a");
}

#[test]
fn g33_the_credit_of_a_number_goes_on_when_it_is_given_anew() {
    let mut table = Table::default();
    table.open(0, &open("a", "t"), 10).unwrap();
    assert!(table.find(0).unwrap().1.arrive(10, 0));
    table.open(0, &open("b", "t"), 10).unwrap();
    assert!(!table.find(0).unwrap().1.arrive(1, 0));
}
