//! Writing many mutants into one source, each behind `crate::mutated(NUMBER)`.
//!
//! The original comes first and every alternative in a block of its own that begins with `crate::mutated(NUMBER);`, so
//! that the compiler's complaint about an alternative points into its block. Output is one token a line: a complaint's
//! line says whose it is ([`Woven::at_line`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use proc_macro2::{Delimiter, LineColumn, Spacing, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::spanned::Spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Expr, Pat, Type, parse_quote};

use crate::list::{Genre, Mutant, Place};

/// A file with its mutants in it.
pub(crate) struct Woven {
    pub(crate) file: String,
    pub(crate) text: String,
    /// Line, counted from 1, to the mutant whose tokens are there.
    lines: BTreeMap<usize, usize>,
}

impl Woven {
    /// The mutant to which a line belongs.
    pub(crate) fn at_line(&self, line: usize) -> Option<usize> {
        self.lines.get(&line).copied()
    }
}

/// Every file that has mutants, with all of them but those in `without`; a mutant whose place is not found, or that
/// cannot stand beside the original, is put into `without`.
pub(crate) fn all(root: &Path, mutants: &[Mutant], without: &mut BTreeSet<usize>) -> Result<Vec<Woven>> {
    let mut files: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (which, mutant) in mutants.iter().enumerate() {
        files.entry(&mutant.file).or_default().push(which);
    }
    let mut woven = Vec::new();
    for (file, there) in files {
        let text = std::fs::read_to_string(root.join(file)).with_context(|| format!("reading {file}"))?;
        let mut syntax = syn::parse_file(&text).with_context(|| format!("parsing {file}"))?;
        let mut weaver = Weaver::new(mutants, there.iter().copied().filter(|which| !without.contains(which)));
        weaver.visit_file_mut(&mut syntax);
        without.extend(weaver.left());
        woven.push(print(file, syntax.into_token_stream()));
    }
    Ok(woven)
}

struct Weaver<'a> {
    mutants: &'a [Mutant],
    places: HashMap<(Genre, Place), Vec<usize>>,
    /// Those that cannot stand beside the original.
    alone: Vec<usize>,
}

impl<'a> Weaver<'a> {
    fn new(mutants: &'a [Mutant], those: impl Iterator<Item = usize>) -> Self {
        let mut places: HashMap<_, Vec<usize>> = HashMap::new();
        for which in those {
            let mutant = &mutants[which];
            places.entry((mutant.genre, mutant.span.start)).or_default().push(which);
        }
        Self { mutants, places, alone: Vec::new() }
    }

    fn take(&mut self, genre: Genre, at: LineColumn) -> Vec<usize> {
        let place = Place { line: at.line, column: at.column + 1 };
        self.places.remove(&(genre, place)).unwrap_or_default()
    }

    /// Those, and the ones whose place was not come upon.
    fn left(self) -> impl Iterator<Item = usize> {
        self.places.into_values().flatten().chain(self.alone)
    }

    fn replacement(&self, which: usize) -> Option<TokenStream> {
        self.mutants[which].replacement.parse().ok()
    }

    fn body(&mut self, signature: &syn::Signature, block: &mut syn::Block) {
        let Some(first) = block.stmts.first() else { return };
        let those = self.take(Genre::FnValue, first.span().start());
        visit_mut::visit_block_mut(self, block);
        // What is returned there has one type, and it is not to be named.
        if matches!(&signature.output, syn::ReturnType::Type(_, returned) if matches!(**returned, Type::ImplTrait(_))) {
            self.alone.extend(those);
            return;
        }
        let mut before = Vec::new();
        for which in those {
            let woken = woken(which);
            match self.replacement(which).and_then(|value| syn::parse2::<Expr>(value).ok()) {
                Some(value) => before.push(parse_quote!(if #woken { #woken; return #value; })),
                None => self.alone.push(which),
            }
        }
        block.stmts.splice(0..0, before);
    }

    fn binary(&mut self, binary: &mut syn::ExprBinary) -> Option<Expr> {
        let those = self.take(Genre::BinaryOperator, binary.op.span().start());
        visit_mut::visit_expr_binary_mut(self, binary);
        if those.is_empty() {
            return None;
        }
        if binds(&binary.left) || binds(&binary.right) {
            self.alone.extend(those);
            return None;
        }
        let (left, op, right) = (&binary.left, &binary.op, &binary.right);
        let others: Vec<_> = those.iter().map(|which| (*which, self.replacement(*which))).collect();
        // Chains of && and || are long: their left side is written once.
        if matches!(op, syn::BinOp::And(_) | syn::BinOp::Or(_)) {
            let others = others.iter().map(|(which, other)| (*which, quote!(left #other (#right))));
            let chosen = choice(&quote!(left #op (#right)), others);
            return Some(parse_quote!((match (#left) { left => #chosen })));
        }
        let others = others.iter().map(|(which, other)| (*which, quote!((#left) #other (#right))));
        let chosen = choice(&quote!((#left) #op (#right)), others);
        Some(parse_quote!((#chosen)))
    }

    fn literal(&mut self, literal: &mut syn::ExprStruct) -> Option<Expr> {
        let those: Vec<Vec<usize>> =
            literal.fields.iter().map(|field| self.take(Genre::StructField, field.span().start())).collect();
        visit_mut::visit_expr_struct_mut(self, literal);
        let others: Vec<_> = those
            .iter()
            .enumerate()
            .flat_map(|(left_out, those)| those.iter().map(move |which| (left_out, *which)))
            .map(|(left_out, which)| {
                let mut other = literal.clone();
                let fields = literal.fields.iter().enumerate().filter(|(i, _)| *i != left_out);
                other.fields = fields.map(|(_, field)| field.clone()).collect();
                // The base follows a comma.
                if !other.fields.empty_or_trailing() {
                    other.fields.push_punct(syn::token::Comma::default());
                }
                (which, quote!(#other))
            })
            .collect();
        if others.is_empty() {
            return None;
        }
        let chosen = choice(&quote!(#literal), others.into_iter());
        Some(parse_quote!((#chosen)))
    }
}

impl VisitMut for Weaver<'_> {
    fn visit_item_fn_mut(&mut self, item: &mut syn::ItemFn) {
        self.body(&item.sig, &mut item.block);
    }

    fn visit_impl_item_fn_mut(&mut self, item: &mut syn::ImplItemFn) {
        self.body(&item.sig, &mut item.block);
    }

    fn visit_trait_item_fn_mut(&mut self, item: &mut syn::TraitItemFn) {
        if let Some(block) = &mut item.default {
            self.body(&item.sig, block);
        }
    }

    fn visit_expr_mut(&mut self, expr: &mut Expr) {
        let other = match expr {
            Expr::Binary(binary) => self.binary(binary),
            Expr::Unary(unary) => {
                let those = self.take(Genre::UnaryOperator, unary.op.span().start());
                visit_mut::visit_expr_unary_mut(self, unary);
                let inner = &unary.expr;
                let others = those.iter().map(|which| (*which, quote!(#inner)));
                (!those.is_empty()).then(|| {
                    let chosen = choice(&quote!(#unary), others);
                    parse_quote!((#chosen))
                })
            }
            Expr::Struct(literal) => self.literal(literal),
            _ => return visit_mut::visit_expr_mut(self, expr),
        };
        if let Some(other) = other {
            *expr = other;
        }
    }

    fn visit_expr_match_mut(&mut self, matching: &mut syn::ExprMatch) {
        // Arms that may be passed over need one that takes the rest.
        if !matching.arms.iter().any(|arm| takes_all(&arm.pat)) {
            for arm in &matching.arms {
                let gone = self.take(Genre::MatchArm, arm.span().start());
                self.alone.extend(gone);
            }
        }
        visit_mut::visit_expr_match_mut(self, matching);
    }

    fn visit_arm_mut(&mut self, arm: &mut syn::Arm) {
        let gone = self.take(Genre::MatchArm, arm.span().start());
        let guard_at = guard(&arm.pat).map(|guard| guard.span().start());
        let guards = guard_at.map(|at| self.take(Genre::MatchArmGuard, at)).unwrap_or_default();
        visit_mut::visit_arm_mut(self, arm);
        if guard(&arm.pat).is_some_and(binds) {
            self.alone.extend(guards.into_iter().chain(gone));
            return;
        }
        let mut condition = guard(&arm.pat).map(|guard| quote!((#guard)));
        for which in guards {
            let woken = woken(which);
            condition = match self.mutants[which].replacement.as_str() {
                "true" => Some(quote!((#woken || #condition))),
                _ => Some(quote!((!#woken && #condition))),
            };
        }
        for which in gone {
            let woken = woken(which);
            condition = Some(condition.map_or_else(|| quote!(!#woken), |condition| quote!(!#woken && #condition)));
        }
        if let Some(condition) = condition {
            let pat = match &arm.pat {
                Pat::Guard(guarded) => guarded.pat.clone(),
                other => Box::new(other.clone()),
            };
            let guard = Box::new(parse_quote!(#condition));
            arm.pat = Pat::Guard(syn::PatGuard { attrs: Vec::new(), pat, if_token: parse_quote!(if), guard });
        }
    }
}

/// `_`, or a name that is bound: not `None`.
fn takes_all(pat: &Pat) -> bool {
    match pat {
        Pat::Wild(_) => true,
        Pat::Ident(name) => name.ident.to_string().starts_with(|first: char| first.is_lowercase()),
        _ => false,
    }
}

/// The condition of an arm.
fn guard(pat: &Pat) -> Option<&Expr> {
    match pat {
        Pat::Guard(guarded) => Some(&guarded.guard),
        _ => None,
    }
}

fn woken(which: usize) -> TokenStream {
    quote!(crate::mutated(#which))
}

/// The original while none of the others is awake.
fn choice(original: &TokenStream, others: impl Iterator<Item = (usize, TokenStream)>) -> TokenStream {
    let (mut asleep, mut rest) = (quote!(true), quote!());
    for (which, other) in others {
        let woken = woken(which);
        asleep = quote!(#asleep && !#woken);
        rest = quote!(#rest else if #woken { #woken; #other });
    }
    quote!(if #asleep { #original } #rest else { unreachable!() })
}

/// Whether a condition binds names (`let` in a chain): it cannot be taken apart.
fn binds(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => binds(&binary.left) || binds(&binary.right),
        _ => false,
    }
}

fn print(file: &str, tokens: TokenStream) -> Woven {
    let mut woven = Woven { file: file.to_owned(), text: String::new(), lines: BTreeMap::new() };
    Printer { woven: &mut woven, line: 1 }.tokens(tokens, None);
    woven
}

struct Printer<'a> {
    woven: &'a mut Woven,
    line: usize,
}

impl Printer<'_> {
    fn tokens(&mut self, tokens: TokenStream, owner: Option<usize>) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        for (i, token) in tokens.iter().enumerate() {
            let named = |ahead: usize| tokens.get(i + ahead).and_then(number);
            // `crate :: mutated (N)`: the number itself, and before it the three tokens that call.
            let call = (0..=4).find_map(|ahead| {
                let begins = i + ahead >= 4 && is_call(&tokens[i + ahead - 4..]);
                if begins { named(ahead) } else { None }
            });
            let owner = call.or(owner);
            match token {
                TokenTree::Group(group) => {
                    let (open, close) = match group.delimiter() {
                        Delimiter::Parenthesis => ("(", ")"),
                        Delimiter::Brace => ("{", "}"),
                        Delimiter::Bracket => ("[", "]"),
                        Delimiter::None => ("", ""),
                    };
                    let inside: Vec<TokenTree> = group.stream().into_iter().collect();
                    let begins = group.delimiter() == Delimiter::Brace && is_call(&inside);
                    let owner = if begins { inside.get(4).and_then(number).or(owner) } else { owner };
                    self.put(open, owner, true);
                    self.tokens(group.stream(), owner);
                    self.put(close, owner, true);
                }
                TokenTree::Punct(punct) => {
                    self.put(&punct.as_char().to_string(), owner, punct.spacing() == Spacing::Alone);
                }
                other => self.put(&other.to_string(), owner, true),
            }
        }
    }

    fn put(&mut self, token: &str, owner: Option<usize>, ends: bool) {
        if let Some(owner) = owner {
            self.woven.lines.insert(self.line, owner);
        }
        let _ = write!(self.woven.text, "{token}{}", if ends { "\n" } else { "" });
        self.line += token.matches('\n').count() + usize::from(ends);
    }
}

/// Whether these tokens begin with `crate::mutated(..)`.
fn is_call(tokens: &[TokenTree]) -> bool {
    let [TokenTree::Ident(first), TokenTree::Punct(_), TokenTree::Punct(_), TokenTree::Ident(name), rest @ ..] = tokens
    else {
        return false;
    };
    first == "crate" && name == "mutated" && rest.first().is_some_and(|token| number(token).is_some())
}

/// The number in `(17)`.
fn number(token: &TokenTree) -> Option<usize> {
    let TokenTree::Group(group) = token else { return None };
    let TokenTree::Literal(literal) = group.stream().into_iter().next()? else { return None };
    literal.to_string().trim_end_matches("usize").parse().ok()
}
