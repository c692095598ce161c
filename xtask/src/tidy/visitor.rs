//! One walk over a parsed file that measures what the rules ask for.

use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, Block, FnArg, Item, Meta, Safety, Signature, Token, TraitItem, UseTree};

/// What one file holds. Lines are counted from 1.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) lines: usize,
    /// Of `lines`, those of items that only tests compile.
    pub(crate) test_lines: usize,
    pub(crate) functions: Vec<Function>,
    pub(crate) traits: Vec<Counted>,
    pub(crate) error_enums: Vec<Counted>,
    /// Modules whose body is in this file.
    pub(crate) inline_modules: Vec<Named>,
    /// Modules of this file that lie in another one and that only tests compile.
    pub(crate) test_modules: Vec<String>,
    /// Where code, not tests, is unsafe.
    pub(crate) unsafe_lines: Vec<usize>,
    /// Paths that code, not tests, names: `std::fs::read`.
    pub(crate) paths: Vec<Named>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    /// From the signature to the closing brace.
    pub(crate) lines: usize,
    /// Without `self`.
    pub(crate) arguments: usize,
    pub(crate) is_test: bool,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) count: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) line: usize,
}

pub(crate) fn facts(file: &syn::File, text: &str) -> Facts {
    let mut visitor = Visitor {
        facts: Facts {
            lines: text.lines().count(),
            ..Facts::default()
        },
        in_test: false,
    };
    visitor.visit_file(file);
    visitor.facts
}

struct Visitor {
    facts: Facts,
    in_test: bool,
}

impl Visitor {
    fn function(&mut self, signature: &Signature, block: Option<&Block>) {
        let start = signature.span().start().line;
        let end = block.map_or(signature.span().end().line, |block| {
            block.brace_token.span.close().end().line
        });
        let arguments = signature
            .inputs
            .iter()
            .filter(|input| matches!(input, FnArg::Typed(_)))
            .count();
        if matches!(signature.safety, Safety::Unsafe(_)) {
            self.unsafe_at(start);
        }
        self.facts.functions.push(Function {
            name: signature.ident.to_string(),
            line: start,
            lines: end - start + 1,
            arguments,
            is_test: self.in_test,
        });
    }

    fn unsafe_at(&mut self, line: usize) {
        if !self.in_test {
            self.facts.unsafe_lines.push(line);
        }
    }

    fn path(&mut self, name: String, line: usize) {
        if !self.in_test {
            self.facts.paths.push(Named { name, line });
        }
    }

    fn uses(&mut self, before: &str, tree: &UseTree) {
        let join = |name: &syn::Ident| {
            if before.is_empty() {
                name.to_string()
            } else {
                format!("{before}::{name}")
            }
        };
        match tree {
            UseTree::Path(path) => self.uses(&join(&path.ident), &path.tree),
            UseTree::Name(name) => self.path(join(&name.ident), name.ident.span().start().line),
            UseTree::Rename(name) => self.path(join(&name.ident), name.ident.span().start().line),
            UseTree::Glob(glob) => self.path(before.to_owned(), glob.span().start().line),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.uses(before, item)),
        }
    }
}

impl<'ast> Visit<'ast> for Visitor {
    fn visit_item(&mut self, item: &'ast Item) {
        let outer = self.in_test;
        if attributes(item).iter().any(is_test_only) {
            if !outer {
                let span = item.span();
                self.facts.test_lines += span.end().line - span.start().line + 1;
            }
            self.in_test = true;
        }
        visit::visit_item(self, item);
        self.in_test = outer;
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.function(&item.sig, Some(&item.block));
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.function(&item.sig, Some(&item.block));
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.function(&item.sig, item.default.as_ref());
        visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        let count = item
            .items
            .iter()
            .filter(|item| matches!(item, TraitItem::Fn(_)))
            .count();
        self.facts.traits.push(Counted {
            name: item.ident.to_string(),
            line: item.ident.span().start().line,
            count,
        });
        visit::visit_item_trait(self, item);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        if item.attrs.iter().any(derives_error) {
            let line = item.ident.span().start().line;
            self.facts.error_enums.push(Counted {
                name: item.ident.to_string(),
                line,
                count: item.variants.len(),
            });
        }
        visit::visit_item_enum(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let name = item.ident.to_string();
        match &item.content {
            Some(_) => self.facts.inline_modules.push(Named {
                name,
                line: item.ident.span().start().line,
            }),
            None if self.in_test => self.facts.test_modules.push(name),
            None => {}
        }
        visit::visit_item_mod(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.uses("", &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let name = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect::<Vec<_>>()
            .join("::");
        self.path(name, path.span().start().line);
        visit::visit_path(self, path);
    }

    fn visit_expr_unsafe(&mut self, expression: &'ast syn::ExprUnsafe) {
        self.unsafe_at(expression.unsafe_token.span.start().line);
        visit::visit_expr_unsafe(self, expression);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let Some(token) = &item.unsafety {
            self.unsafe_at(token.span.start().line);
        }
        visit::visit_item_impl(self, item);
    }
}

/// `#[cfg(test)]`, or a `cfg` of which `test` is one of several conditions that all must hold.
fn is_test_only(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<Meta>().is_ok_and(|meta| needs_test(&meta))
}

fn needs_test(meta: &Meta) -> bool {
    match meta {
        Meta::Path(path) => path.is_ident("test"),
        Meta::List(list) if list.path.is_ident("all") => list
            .parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)
            .is_ok_and(|conditions| conditions.iter().any(needs_test)),
        _ => false,
    }
}

fn derives_error(attribute: &Attribute) -> bool {
    attribute.path().is_ident("derive")
        && attribute
            .parse_args_with(Punctuated::<syn::Path, Token![,]>::parse_terminated)
            .is_ok_and(|traits| {
                traits
                    .iter()
                    .any(|path| path.segments.last().is_some_and(|last| last.ident == "Error"))
            })
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
        Item::Union(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn of(text: &str) -> Facts {
        facts(&syn::parse_file(text).unwrap(), text)
    }

    #[test]
    fn lines_of_items_that_only_tests_compile_are_counted_apart() {
        let table = [
            ("fn a() {}\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n", 5, 4),
            ("#[cfg(all(test, unix))]\nfn a() {}\n", 2, 2),
            ("#[cfg(any(test, unix))]\nfn a() {}\n", 2, 0),
            ("#[cfg(not(test))]\nfn a() {}\n", 2, 0),
            (
                "#[cfg(test)]\n#[allow(unused)]\nmod tests {\n    #[cfg(test)]\n    use a::b;\n}\n",
                6,
                6,
            ),
        ];
        for (text, lines, test_lines) in table {
            let facts = of(text);
            assert_eq!((facts.lines, facts.test_lines), (lines, test_lines), "{text}");
        }
    }

    #[test]
    fn functions_are_measured_from_signature_to_brace_without_self() {
        let facts = of(
            "struct S;\nimpl S {\n    /// Doc.\n    fn two(\n        &self,\n        a: u8,\n        b: u8,\n    ) {\n    }\n}\n",
        );
        let expected = Function {
            name: "two".to_owned(),
            line: 4,
            lines: 6,
            arguments: 2,
            is_test: false,
        };
        assert_eq!(facts.functions, [expected]);
    }

    #[test]
    fn methods_of_traits_and_variants_of_errors_are_counted() {
        let facts = of(
            "trait T {\n    type A;\n    fn a();\n    fn b() {}\n}\n#[derive(Debug, thiserror::Error)]\nenum E { A, B }\nenum Plain { A }\n",
        );
        assert_eq!(
            facts.traits,
            [Counted {
                name: "T".to_owned(),
                line: 1,
                count: 2
            }]
        );
        assert_eq!(
            facts.error_enums,
            [Counted {
                name: "E".to_owned(),
                line: 7,
                count: 2
            }]
        );
    }

    #[test]
    fn unsafe_is_seen_in_every_form_outside_tests() {
        let text = "fn a() { unsafe { b() } }\nunsafe fn b() {}\nunsafe impl Send for S {}\n#[cfg(test)]\nfn t() { unsafe { b() } }\n";
        assert_eq!(of(text).unsafe_lines, [1, 2, 3]);
    }

    #[test]
    fn paths_are_seen_in_uses_types_and_calls() {
        let text = "use std::{fs::{self, File}, io};\nfn a() -> std::net::IpAddr { tokio::spawn(x) }\nuse hyper::*;\n";
        let facts = of(text);
        let names: Vec<&str> = facts.paths.iter().map(|path| path.name.as_str()).collect();
        for wanted in [
            "std::fs::self",
            "std::fs::File",
            "std::io",
            "std::net::IpAddr",
            "tokio::spawn",
            "hyper",
        ] {
            assert!(names.contains(&wanted), "{wanted} in {names:?}");
        }
    }

    #[test]
    fn modules_in_files_of_their_own_that_only_tests_compile_are_named() {
        let facts = of("mod code;\n#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod inline {}\n");
        assert_eq!(facts.test_modules, ["tests"]);
        assert_eq!(
            facts.inline_modules,
            [Named {
                name: "inline".to_owned(),
                line: 5
            }]
        );
    }
}
