//! What `#[fingerprint(..)]` says, on a type, a variant and a field.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote;
use syn::ext::IdentExt;
use syn::meta::ParseNestedMeta;
use syn::spanned::Spanned;
use syn::{Attribute, DeriveInput, Error, Field, LitInt, LitStr, Path, Result, Variant};

/// By which name and version a type is known.
pub(super) struct TypeOptions {
    pub(super) name: String,
    pub(super) version: TokenStream,
}

impl TypeOptions {
    pub(super) fn of(input: &DeriveInput) -> Result<Self> {
        let (mut name, mut version) = (None, None);
        each(&input.attrs, |meta| {
            if meta.path.is_ident("name") {
                once(&meta, &mut name, text)
            } else if meta.path.is_ident("version") {
                once(&meta, &mut version, number)
            } else {
                Err(unknown(
                    &meta,
                    "a type has `name = \"...\"` and `version = N`",
                ))
            }
        })?;
        let wire = Wire::of(&input.attrs);
        let own = || input.ident.unraw().to_string();
        Ok(TypeOptions {
            name: name.or(wire.name).unwrap_or_else(own),
            version: version.or(wire.version).unwrap_or_else(|| quote!(1)),
        })
    }
}

/// What `#[message(..)]` says. It has its own derive to complain about it.
#[derive(Default)]
struct Wire {
    name: Option<String>,
    version: Option<TokenStream>,
}

impl Wire {
    fn of(attributes: &[Attribute]) -> Self {
        let mut wire = Wire::default();
        let of_message = attributes.iter().filter(|a| a.path().is_ident("message"));
        for attribute in of_message {
            let _ = attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("name") {
                    wire.name = Some(text(&meta)?);
                } else if meta.path.is_ident("version") {
                    wire.version = Some(number(&meta)?);
                } else {
                    meta.value()?.parse::<syn::Type>()?;
                }
                Ok(())
            });
        }
        wire
    }
}

/// By which name a variant is known, and where that is said.
pub(super) fn variant_name(variant: &Variant) -> Result<(String, Span)> {
    let mut name = None;
    each(&variant.attrs, |meta| {
        if meta.path.is_ident("name") {
            once(&meta, &mut name, text)
        } else if meta.path.is_ident("skip") {
            Err(meta.error("a variant can't be left out: skip its fields"))
        } else {
            Err(unknown(&meta, "a variant has `name = \"...\"`"))
        }
    })?;
    let own = || variant.ident.unraw().to_string();
    Ok((name.unwrap_or_else(own), variant.ident.span()))
}

/// How a field is written.
pub(super) enum Write {
    Own,
    With(Path),
}

pub(super) struct FieldOptions {
    pub(super) name: Option<String>,
    pub(super) write: Write,
    pub(super) skip_default: bool,
    pub(super) span: Span,
}

impl FieldOptions {
    /// Nothing for a field that is left out.
    pub(super) fn of(field: &Field) -> Result<Option<Self>> {
        let (mut name, mut with) = (None, None);
        let (mut skip, mut skip_default) = (None, None);
        each(&field.attrs, |meta| {
            if meta.path.is_ident("skip") {
                once(&meta, &mut skip, |meta| Ok(meta.path.span()))
            } else if meta.path.is_ident("skip_default") {
                once(&meta, &mut skip_default, |_| Ok(()))
            } else if meta.path.is_ident("name") {
                once(&meta, &mut name, text)
            } else if meta.path.is_ident("with") {
                once(&meta, &mut with, |meta| meta.value()?.parse())
            } else {
                let expected =
                    "a field has `skip`, `skip_default`, `name = \"...\"` and `with = path`";
                Err(unknown(&meta, expected))
            }
        })?;
        if let Some(span) = skip {
            return if name.is_none() && with.is_none() && skip_default.is_none() {
                Ok(None)
            } else {
                Err(Error::new(
                    span,
                    "a field that is left out has no other options",
                ))
            };
        }
        Ok(Some(FieldOptions {
            name,
            write: with.map_or(Write::Own, Write::With),
            skip_default: skip_default.is_some(),
            span: field
                .ident
                .as_ref()
                .map_or_else(|| field.span(), Ident::span),
        }))
    }
}

fn each(
    attributes: &[Attribute],
    mut option: impl FnMut(ParseNestedMeta<'_>) -> Result<()>,
) -> Result<()> {
    for attribute in attributes {
        if attribute.path().is_ident("fingerprint") {
            attribute.parse_nested_meta(&mut option)?;
        }
    }
    Ok(())
}

fn once<T>(
    meta: &ParseNestedMeta<'_>,
    slot: &mut Option<T>,
    value: impl FnOnce(&ParseNestedMeta<'_>) -> Result<T>,
) -> Result<()> {
    match slot.replace(value(meta)?) {
        None => Ok(()),
        Some(_) => Err(meta.error("this is said twice")),
    }
}

fn text(meta: &ParseNestedMeta<'_>) -> Result<String> {
    let text: LitStr = meta.value()?.parse()?;
    if text.value().is_empty() {
        return Err(Error::new(text.span(), "a name has at least 1 byte"));
    }
    Ok(text.value())
}

fn number(meta: &ParseNestedMeta<'_>) -> Result<TokenStream> {
    let number: LitInt = meta.value()?.parse()?;
    number.base10_parse::<u32>()?;
    Ok(quote!(#number))
}

fn unknown(meta: &ParseNestedMeta<'_>, expected: &str) -> Error {
    let path = &meta.path;
    let option = quote!(#path).to_string().replace(' ', "");
    meta.error(format!("unknown option `{option}`: {expected}"))
}
