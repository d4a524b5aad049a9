//! The walk over the syntax tree of one file, by `syn`.

use super::source::{Function, Import, Module, Source, UsedPath, words};
use proc_macro2::{TokenStream, TokenTree};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item, UseTree};

/// The walk over one file.
pub struct Reader {
    source: Source,
    module: Module,
    in_test: bool,
    /// The lines of each item that is test code.
    tests: Vec<RangeInclusive<usize>>,
}

impl Reader {
    pub fn new(source: Source, module: Module) -> Self {
        Self { source, module, in_test: false, tests: vec![] }
    }

    /// Returns what was read, and the lines of each item that is test code.
    pub fn finish(self) -> (Source, Vec<RangeInclusive<usize>>) {
        (self.source, self.tests)
    }

    fn inside_test(&mut self, attributes: &[Attribute], node: &impl Spanned, walk: impl FnOnce(&mut Self)) {
        let outer = self.in_test;
        self.in_test |= is_test(attributes);
        if self.in_test && !outer {
            let span = node.span();
            self.tests.push(span.start().line..=span.end().line);
        }
        walk(self);
        self.in_test = outer;
    }

    fn add_path(&mut self, segments: Vec<String>, line: usize) {
        let (module, in_test) = (self.module.clone(), self.in_test);
        self.source.paths.push(UsedPath { module, segments, in_test, line });
    }

    fn add_import(&mut self, path: Vec<String>, name: String, line: usize) {
        let mut used = path.clone();
        if name == "*" {
            used.push(name.clone());
        }
        self.add_path(used, line);
        self.source.imports.push(Import { module: self.module.clone(), name, path });
    }

    fn add_use(&mut self, tree: &UseTree, mut before: Vec<String>) {
        let line = tree.span().start().line;
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_use(&path.tree, before);
            }
            UseTree::Name(name) if name.ident == "self" => {
                let name = before.last().cloned().unwrap_or_default();
                self.add_import(before, name, line);
            }
            UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.add_import(before, name.ident.to_string(), line);
            }
            UseTree::Rename(rename) => {
                if rename.ident != "self" {
                    before.push(rename.ident.to_string());
                }
                self.add_import(before, rename.rename.to_string(), line);
            }
            UseTree::Glob(_) => self.add_import(before, "*".to_owned(), line),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_use(tree, before.clone())),
        }
    }

    fn define(&mut self, name: &impl ToString) {
        self.source.items.insert([&self.module[..], &[name.to_string()]].concat());
    }

    fn define_type(&mut self, name: &impl ToString, attributes: &[Attribute]) {
        self.define(name);
        if self.in_test {
            return;
        }
        self.source.types.push(name.to_string());
        if attributes.iter().any(derives_error) {
            self.source.errors.push(name.to_string());
        }
    }

    fn add_function(&mut self, signature: &syn::Signature, block: &syn::Block) {
        if !self.in_test {
            let lines = block.span().end().line - signature.span().start().line + 1;
            self.source.functions.push(Function { name: signature.ident.to_string(), lines });
        }
    }

    fn add_module(&mut self, item: &syn::ItemMod) {
        let name = item.ident.to_string();
        if item.content.is_some() {
            self.module.push(name);
            visit::visit_item_mod(self, item);
            self.module.pop();
        } else if self.in_test {
            self.source.test_children.push(name);
        } else {
            self.source.children.push(name);
        }
    }

    fn add_item(&mut self, item: &Item) {
        match item {
            Item::Struct(item) => self.define_type(&item.ident, &item.attrs),
            Item::Enum(item) => self.define_type(&item.ident, &item.attrs),
            Item::Union(item) => self.define_type(&item.ident, &item.attrs),
            Item::Trait(item) => self.define_type(&item.ident, &item.attrs),
            Item::Type(item) => self.define_type(&item.ident, &item.attrs),
            Item::Const(item) => self.define(&item.ident),
            Item::Static(item) => self.define(&item.ident),
            Item::Fn(item) => {
                self.define(&item.sig.ident);
                self.add_function(&item.sig, &item.block);
            }
            Item::Use(item) if item.leading_colon.is_none() => self.add_use(&item.tree, vec![]),
            Item::Impl(item) if !self.in_test => self.source.errors.extend(implements_error(item)),
            Item::Mod(item) => return self.add_module(item),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    /// Adds the paths among the tokens of a macro call, which `syn` leaves unread.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let (mut path, mut colons, mut line) = (vec![], 0, 0);
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.add_segments(std::mem::take(&mut path), line);
                        line = ident.span().start().line;
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                other => {
                    self.add_segments(std::mem::take(&mut path), line);
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.add_tokens(group.stream());
                    }
                }
            }
        }
        self.add_segments(path, line);
    }

    fn add_segments(&mut self, segments: Vec<String>, line: usize) {
        if segments.len() > 1 {
            self.add_path(segments, line);
        }
    }
}

impl<'a> Visit<'a> for Reader {
    fn visit_item(&mut self, item: &'a Item) {
        self.inside_test(attributes(item), item, |reader| reader.add_item(item));
    }

    fn visit_impl_item(&mut self, item: &'a ImplItem) {
        let ImplItem::Fn(function) = item else { return visit::visit_impl_item(self, item) };
        self.inside_test(&function.attrs, item, |reader| {
            reader.source.members.insert(function.sig.ident.to_string());
            reader.add_function(&function.sig, &function.block);
            visit::visit_impl_item(reader, item);
        });
    }

    fn visit_trait_item_fn(&mut self, item: &'a syn::TraitItemFn) {
        self.source.members.insert(item.sig.ident.to_string());
        if let Some(block) = &item.default {
            self.add_function(&item.sig, block);
        }
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_variant(&mut self, variant: &'a syn::Variant) {
        self.source.members.insert(variant.ident.to_string());
        visit::visit_variant(self, variant);
    }

    fn visit_item_macro(&mut self, item: &'a syn::ItemMacro) {
        self.source.members.extend(item.ident.as_ref().map(ToString::to_string));
        visit::visit_item_macro(self, item);
    }

    fn visit_path(&mut self, path: &'a syn::Path) {
        let segments = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path.leading_colon.is_none() {
            self.add_segments(segments, path.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'a syn::Macro) {
        visit::visit_macro(self, call);
        self.add_tokens(call.tokens.clone());
    }

    /// Leaves `pub(in crate::edge)` out: it names a module and imports nothing.
    fn visit_vis_restricted(&mut self, _: &'a syn::VisRestricted) {}
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an item is compiled for tests only: `#[cfg(test)]`, `#[cfg(all(test, …))]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let mut found = BTreeSet::new();
        attribute.meta.require_list().map(|list| words(list.tokens.clone(), &mut found)).is_ok()
            && found.contains("test")
            && !found.contains("not")
    })
}

fn derives_error(attribute: &Attribute) -> bool {
    let mut found = BTreeSet::new();
    if let Ok(list) = attribute.meta.require_list() {
        words(list.tokens.clone(), &mut found);
    }
    attribute.path().is_ident("derive") && found.contains("Error")
}

/// The type of an `impl std::error::Error for …`.
fn implements_error(item: &syn::ItemImpl) -> Option<String> {
    let (_, path, _) = item.trait_.as_ref()?;
    let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    let syn::Type::Path(of) = &*item.self_ty else { return None };
    let is_error = matches!(
        segments.iter().map(String::as_str).collect::<Vec<_>>()[..],
        ["Error"] | ["error", "Error"] | ["std" | "core", "error", "Error"]
    );
    is_error.then(|| of.path.segments.last().map(|last| last.ident.to_string()))?
}
