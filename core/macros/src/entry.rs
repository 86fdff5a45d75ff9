//! `#[callboard::main]` and `#[callboard::test]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{FnArg, ItemFn, Pat, Result};

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

pub(crate) fn test(options: TokenStream, item: &ItemFn) -> Result<TokenStream> {
    let on = match options.to_string().as_str() {
        "" | "simulated" => quote!(Simulated),
        "arbiters" => quote!(Arbiters),
        "both" => quote!(Both),
        _ => {
            let text = "expected nothing, `simulated`, `arbiters` or `both`";
            return Err(syn::Error::new_spanned(options, text));
        }
    };
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
            ::callboard::testing::run(::callboard::testing::On::#on, body);
        }
    })
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
