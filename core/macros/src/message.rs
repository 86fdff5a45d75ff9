//! `#[derive(Message)]`.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{DeriveInput, LitInt, LitStr, Result, Type};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let options = Options::of(input)?;
    let ident = &input.ident;
    let (impl_generics, type_generics, where_clause) = input.generics.split_for_impl();
    let reply = options
        .reply
        .map_or_else(|| quote!(()), |reply| quote!(#reply));
    let mut output = quote! {
        #[automatically_derived]
        impl #impl_generics ::callboard::Message for #ident #type_generics #where_clause {
            type Reply = #reply;
        }
    };
    if let Some(name) = options.name {
        let version = options
            .version
            .map_or_else(|| quote!(1), |version| quote!(#version));
        output.extend(quote! {
            #[automatically_derived]
            impl #impl_generics ::callboard::WireMessage for #ident #type_generics #where_clause {
                const NAME: &'static str = #name;
                const VERSION: u32 = #version;
            }
        });
    }
    Ok(output)
}

#[derive(Default)]
struct Options {
    reply: Option<Type>,
    name: Option<LitStr>,
    version: Option<LitInt>,
}

impl Options {
    fn of(input: &DeriveInput) -> Result<Self> {
        let mut options = Options::default();
        for attribute in input
            .attrs
            .iter()
            .filter(|attribute| attribute.path().is_ident("message"))
        {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("reply") {
                    options.reply = Some(meta.value()?.parse()?);
                } else if meta.path.is_ident("name") {
                    let name: LitStr = meta.value()?.parse()?;
                    if name.value().is_empty() || name.value().len() > 255 {
                        return Err(syn::Error::new(
                            name.span(),
                            "a wire name has 1 to 255 bytes",
                        ));
                    }
                    options.name = Some(name);
                } else if meta.path.is_ident("version") {
                    let version: LitInt = meta.value()?.parse()?;
                    version.base10_parse::<u32>()?;
                    options.version = Some(version);
                } else {
                    return Err(meta.error("expected `reply`, `name` or `version`"));
                }
                Ok(())
            })?;
        }
        match (&options.name, &options.version) {
            (None, Some(version)) => Err(syn::Error::new(
                version.span(),
                "`version` needs a `name` beside it",
            )),
            _ => Ok(options),
        }
    }
}
