//! `#[derive(Message)]`.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, LitInt, LitStr, Result, Type};

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
        let raw = options.raw.map(|at| raw(input, at)).transpose()?;
        output.extend(quote! {
            #[automatically_derived]
            impl #impl_generics ::callboard::WireMessage for #ident #type_generics #where_clause {
                const NAME: &'static str = #name;
                const VERSION: u32 = #version;
                #raw
            }
        });
    }
    Ok(output)
}

/// How a message travels that is nothing but bytes.
fn raw(input: &DeriveInput, at: Span) -> Result<TokenStream> {
    let only = match &input.data {
        Data::Struct(data) if data.fields.len() == 1 => data.fields.iter().next(),
        _ => None,
    };
    let Some(field) = only else {
        let why = "`raw` is for a struct with one field, a `Blob` or `Bytes`";
        return Err(syn::Error::new(at, why));
    };
    let member = match &field.ident {
        Some(ident) => quote!(#ident),
        None => quote!(0),
    };
    Ok(quote! {
        const RAW: bool = true;

        fn schema() -> ::core::option::Option<::callboard::codec::Schema> {
            ::core::option::Option::Some(::callboard::codec::Schema::RAW)
        }

        fn put(
            &self,
            out: &mut ::std::vec::Vec<u8>,
            shape: ::callboard::codec::Shape,
        ) -> ::core::result::Result<::callboard::codec::Shape, ::callboard::codec::CodecError> {
            let bytes: &::callboard::codec::Bytes = ::core::borrow::Borrow::borrow(&self.#member);
            out.extend_from_slice(bytes);
            ::core::result::Result::Ok(shape)
        }

        fn take(bytes: &[u8]) -> ::core::result::Result<Self, ::callboard::codec::CodecError> {
            Self::take_owned(::callboard::codec::Bytes::copy_from_slice(bytes))
        }

        fn as_raw(&self) -> ::core::option::Option<&::callboard::codec::Bytes> {
            ::core::option::Option::Some(::core::borrow::Borrow::borrow(&self.#member))
        }

        fn take_owned(
            bytes: ::callboard::codec::Bytes,
        ) -> ::core::result::Result<Self, ::callboard::codec::CodecError> {
            ::core::result::Result::Ok(Self { #member: ::core::convert::From::from(bytes) })
        }
    })
}

#[derive(Default)]
struct Options {
    reply: Option<Type>,
    name: Option<LitStr>,
    version: Option<LitInt>,
    raw: Option<Span>,
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
                } else if meta.path.is_ident("raw") {
                    options.raw = Some(meta.path.span());
                } else {
                    return Err(meta.error("expected `reply`, `name`, `version` or `raw`"));
                }
                Ok(())
            })?;
        }
        match (&options.name, &options.version, options.raw) {
            (None, Some(version), _) => Err(syn::Error::new(
                version.span(),
                "`version` needs a `name` beside it",
            )),
            (None, None, Some(raw)) => Err(syn::Error::new(raw, "`raw` needs a `name` beside it")),
            _ => Ok(options),
        }
    }
}
