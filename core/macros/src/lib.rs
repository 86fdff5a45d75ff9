//! Derive and attribute macros of Callboard. Used through the facade crate `callboard`.

mod entry;
mod fingerprint;
mod message;

use proc_macro::TokenStream;
use syn::{DeriveInput, ItemFn, parse_macro_input};

/// Makes a type a message.
///
/// ```ignore
/// #[derive(Message)]
/// #[message(reply = u64)]                                   // without `reply` the answer is `()`
/// struct Add(u64);
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[message(reply = u64, name = "counter.add", version = 1)] // can cross a process boundary
/// struct RemoteAdd(u64);
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[message(name = "camera.frame", raw)]                    // bytes as they are, around a `Blob`
/// struct Frame(Blob);
/// ```
#[proc_macro_derive(Message, attributes(message))]
pub fn derive_message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    message::derive(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Gives a type a canonical form, so that equal values are seen to be equal.
///
/// ```ignore
/// #[derive(Fingerprint)]
/// struct Pay {
///     to: String,
///     cents: u64,
///     #[fingerprint(skip)]             // differs from one attempt to the next
///     sent_at: Duration,
/// }
/// ```
///
/// The trait of the same name lists the options of fields, variants and types.
#[proc_macro_derive(Fingerprint, attributes(fingerprint))]
pub fn derive_fingerprint(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    fingerprint::derive(&input)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Runs an `async fn main` as arbiter 0 of a system with one arbiter per core, and shuts the system down
/// when it ends.
///
/// A parameter, if there is one, is the [`System`](https://docs.rs/callboard).
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as ItemFn);
    entry::main(options.into(), &item)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}

/// Runs an `async fn` as a test in a system of its own.
///
/// Without options it runs on the simulating executor, in virtual time, under 16 seeds. A failure prints the
/// seed; the environment variable `CALLBOARD_SEED` chooses that one, and `CALLBOARD_SEEDS` how many.
///
/// | Option | Says |
/// |---|---|
/// | `simulated` | on the simulating executor; the default |
/// | `arbiters` | on real arbiters, once with hand-off and once without |
/// | `both` | both |
/// | `seeds = 100` | under how many seeds, where it is simulated |
/// | `arbiters = 3` | how many arbiters the system has, on either executor |
///
/// Needs the feature `test`.
///
/// A parameter, if there is one, is the [`System`](https://docs.rs/callboard).
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut test_options = entry::TestOptions::default();
    let parser = syn::meta::parser(|meta| test_options.add(&meta));
    parse_macro_input!(options with parser);
    let item = parse_macro_input!(item as ItemFn);
    entry::test(test_options, &item)
        .unwrap_or_else(syn::Error::into_compile_error)
        .into()
}
