//! `#[derive(Fingerprint)]`.

mod options;

use std::collections::BTreeSet;

use proc_macro2::{Ident, Span, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{
    Data, DataEnum, DeriveInput, Error, Fields, Generics, Member, Result, Type, parse_quote,
};

use options::{FieldOptions, TypeOptions, Write, variant_name};

pub(crate) fn derive(input: &DeriveInput) -> Result<TokenStream> {
    let TypeOptions { name, version } = TypeOptions::of(input)?;
    let mut bounds = Bounds::of(&input.generics);
    let body = match &input.data {
        Data::Struct(data) => {
            let shape = Shape::of(&data.fields, &mut bounds)?;
            let pattern = shape.pattern(&quote!(Self));
            let written = shape.written(&quote!(to.record(#name, #version)));
            quote! {
                let #pattern = self;
                #written
            }
        }
        Data::Enum(data) => variants(data, &name, &version, &mut bounds)?,
        Data::Union(data) => {
            return Err(Error::new(
                data.union_token.span,
                "a union has no fingerprint: nobody knows which of its fields is set",
            ));
        }
    };
    let ident = &input.ident;
    let generics = bounds.applied(&input.generics);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics ::callboard::Fingerprint for #ident #type_generics #where_clause {
            fn fingerprint(&self, to: &mut ::callboard::Fingerprinter<'_>) {
                #body
            }
        }
    })
}

fn variants(
    data: &DataEnum,
    name: &str,
    version: &TokenStream,
    bounds: &mut Bounds,
) -> Result<TokenStream> {
    if data.variants.is_empty() {
        return Ok(quote!(match *self {}));
    }
    let mut names = Names::default();
    let mut arms = TokenStream::new();
    for variant in &data.variants {
        let (variant_name, span) = variant_name(variant)?;
        names.add(&variant_name, span)?;
        let shape = Shape::of(&variant.fields, bounds)?;
        let ident = &variant.ident;
        let pattern = shape.pattern(&quote!(Self::#ident));
        let written = shape.written(&quote!(to.variant(#name, #version, #variant_name)));
        arms.extend(quote!(#pattern => { #written }));
    }
    Ok(quote!(match self { #arms }))
}

/// Names that must differ.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    fn add(&mut self, name: &str, span: Span) -> Result<()> {
        if self.0.insert(name.to_owned()) {
            return Ok(());
        }
        let text = format!("another one has the name `{name}`, too");
        Err(Error::new(span, text))
    }
}

/// The fields of a struct or variant that are written, in the order in which they are.
struct Shape {
    fields: Vec<Field>,
}

struct Field {
    name: String,
    member: Member,
    binding: Ident,
    ty: Type,
    write: Write,
    skip_default: bool,
}

impl Shape {
    fn of(fields: &Fields, bounds: &mut Bounds) -> Result<Self> {
        let mut written = Vec::new();
        let mut names = Names::default();
        for (member, field) in fields.members().zip(fields) {
            let Some(options) = FieldOptions::of(field)? else {
                continue;
            };
            let own = match &member {
                Member::Named(ident) => ident.unraw().to_string(),
                Member::Unnamed(index) => index.index.to_string(),
            };
            // A type without a fingerprint is pointed at where it stands.
            let at = Span::call_site().located_at(field.ty.span());
            let binding = format_ident!("field_{own}", span = at);
            let name = options.name.unwrap_or(own);
            names.add(&name, options.span)?;
            bounds.add(&field.ty, &options.write, options.skip_default);
            written.push(Field {
                name,
                member,
                binding,
                ty: field.ty.clone(),
                write: options.write,
                skip_default: options.skip_default,
            });
        }
        // So the order in the source says nothing.
        written.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Shape { fields: written })
    }

    fn pattern(&self, path: &TokenStream) -> TokenStream {
        let bindings = self.fields.iter().map(|field| {
            let (member, binding) = (&field.member, &field.binding);
            quote!(#member: #binding)
        });
        quote!(#path { #(#bindings,)* .. })
    }

    /// All of them, after what begins them.
    fn written(&self, start: &TokenStream) -> TokenStream {
        if self.fields.is_empty() {
            return quote!(::core::mem::drop(#start););
        }
        let writes = self.fields.iter().map(Field::written);
        quote! {
            let mut fields = #start;
            #(#writes)*
        }
    }
}

impl Field {
    fn written(&self) -> TokenStream {
        let Field {
            name, binding, ty, ..
        } = self;
        let write = match &self.write {
            Write::Own => quote!(fields.field(#name, #binding);),
            Write::With(path) => quote!(fields.field_with(#name, |to| #path(#binding, to));),
        };
        if !self.skip_default {
            return write;
        }
        quote! {
            if *#binding != <#ty as ::core::default::Default>::default() {
                #write
            }
        }
    }
}

/// What the type's parameters must be able to do: those in fields that are written.
struct Bounds {
    parameters: Vec<Ident>,
    predicates: Vec<syn::WherePredicate>,
    needed: Vec<bool>,
}

impl Bounds {
    fn of(generics: &Generics) -> Self {
        let parameters: Vec<Ident> = generics.type_params().map(|p| p.ident.clone()).collect();
        Bounds {
            needed: vec![false; parameters.len()],
            parameters,
            predicates: Vec::new(),
        }
    }

    fn add(&mut self, ty: &Type, write: &Write, skip_default: bool) {
        let mut generic = false;
        for (parameter, needed) in self.parameters.iter().zip(&mut self.needed) {
            let mentioned = mentions(ty.to_token_stream(), parameter);
            generic |= mentioned;
            *needed |= mentioned && matches!(write, Write::Own);
        }
        if skip_default && generic {
            self.predicates
                .push(parse_quote!(#ty: ::core::default::Default + ::core::cmp::PartialEq));
        }
    }

    fn applied(self, generics: &Generics) -> Generics {
        let mut generics = generics.clone();
        let clause = generics.make_where_clause();
        for (parameter, needed) in self.parameters.iter().zip(self.needed) {
            if needed {
                let bound = parse_quote!(#parameter: ::callboard::Fingerprint);
                clause.predicates.push(bound);
            }
        }
        clause.predicates.extend(self.predicates);
        generics
    }
}

fn mentions(tokens: TokenStream, ident: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(other) => other == *ident,
        TokenTree::Group(group) => mentions(group.stream(), ident),
        _ => false,
    })
}
