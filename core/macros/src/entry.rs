//! `#[callboard::main]` and `#[callboard::test]`.

use std::fmt::Display;
use std::str::FromStr;

use proc_macro2::TokenStream;
use quote::quote;
use syn::meta::ParseNestedMeta;
use syn::{FnArg, ItemFn, LitInt, Pat, Result, Token};

pub(crate) fn main(options: TokenStream, item: &ItemFn) -> Result<TokenStream> {
    if !options.is_empty() {
        return Err(syn::Error::new_spanned(options, "`main` takes no options"));
    }
    let parts = Parts::of(item)?;
    let Parts {
        attributes,
        visibility,
        name,
        output,
        system,
        body,
    } = parts;
    Ok(quote! {
        #(#attributes)*
        #visibility fn #name() #output {
            match ::callboard::run(move |#system| async move #body) {
                ::core::result::Result::Ok(output) => output,
                ::core::result::Result::Err(error) => {
                    ::std::eprintln!("error: {error}");
                    ::std::process::exit(1)
                }
            }
        }
    })
}

pub(crate) fn test(options: TestOptions, item: &ItemFn) -> Result<TokenStream> {
    let TestOptions {
        on,
        seeds,
        arbiters,
    } = options;
    let on = on.unwrap_or_else(|| quote!(Simulated));
    let seeds = seeds.map(|count| quote!(.seeds(#count)));
    let arbiters = arbiters.map(|count| quote!(.arbiters(#count)));
    let parts = Parts::of(item)?;
    let Parts {
        attributes,
        visibility,
        name,
        output,
        system,
        body,
    } = parts;
    Ok(quote! {
        #[::core::prelude::v1::test]
        #(#attributes)*
        #visibility fn #name() {
            async fn body(#system) #output #body
            ::callboard::testing::Test::new(::callboard::testing::On::#on)
                #seeds
                #arbiters
                .run(body);
        }
    })
}

/// The options of `#[callboard::test]`: an executor, `seeds = N`, `arbiters = N`, in any order.
#[derive(Default)]
pub(crate) struct TestOptions {
    on: Option<TokenStream>,
    seeds: Option<LitInt>,
    arbiters: Option<LitInt>,
}

impl TestOptions {
    /// Takes in one option.
    pub(crate) fn add(&mut self, meta: &ParseNestedMeta<'_>) -> Result<()> {
        let is_number = meta.input.peek(Token![=]);
        let path = &meta.path;
        if path.is_ident("seeds") && is_number {
            return set(&mut self.seeds, count::<u64>(meta)?, meta);
        }
        if path.is_ident("arbiters") && is_number {
            return set(&mut self.arbiters, count::<usize>(meta)?, meta);
        }
        let on = if path.is_ident("simulated") {
            quote!(Simulated)
        } else if path.is_ident("arbiters") {
            quote!(Arbiters)
        } else if path.is_ident("both") {
            quote!(Both)
        } else {
            let text = "expected `simulated`, `arbiters` or `both`, `seeds = N`, `arbiters = N`";
            return Err(meta.error(text));
        };
        set(&mut self.on, on, meta)
    }
}

fn set<T>(option: &mut Option<T>, value: T, meta: &ParseNestedMeta<'_>) -> Result<()> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(meta.error("this is said twice")),
    }
}

/// A number of at least 1.
fn count<T: FromStr<Err: Display>>(meta: &ParseNestedMeta<'_>) -> Result<LitInt> {
    let number: LitInt = meta.value()?.parse()?;
    number.base10_parse::<T>()?;
    if number.base10_digits() == "0" {
        return Err(syn::Error::new(number.span(), "at least 1"));
    }
    Ok(number)
}

/// An `async fn` taken apart.
struct Parts<'a> {
    attributes: &'a [syn::Attribute],
    visibility: &'a syn::Visibility,
    name: &'a syn::Ident,
    output: &'a syn::ReturnType,
    /// The one parameter, with its type.
    system: TokenStream,
    body: &'a syn::Block,
}

impl<'a> Parts<'a> {
    fn of(item: &'a ItemFn) -> Result<Self> {
        let signature = &item.sig;
        if signature.asyncness.is_none() {
            let text = "an `async fn` is expected here";
            return Err(syn::Error::new_spanned(signature.fn_token, text));
        }
        let system = match signature.inputs.iter().collect::<Vec<_>>()[..] {
            [] => quote!(_system: ::callboard::System),
            [FnArg::Typed(argument)] if matches!(*argument.pat, Pat::Ident(_)) => {
                quote!(#argument)
            }
            _ => {
                let text = "no parameter is expected, or one: `system: System`";
                return Err(syn::Error::new_spanned(&signature.inputs, text));
            }
        };
        Ok(Parts {
            attributes: &item.attrs,
            visibility: &item.vis,
            name: &signature.ident,
            output: &signature.output,
            system,
            body: &item.block,
        })
    }
}
