//! What of the library can be named from outside: found by reading its source.
//!
//! Paths are followed as far as this crate goes: modules in files of their own or in line; `use` by name, with `as`, in braces. There are no
//! globs. Methods of types of one name are told apart by what the name means where the `impl` stands.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::Path;

use syn::{
    Attribute, Expr, File, ImplItem, Item, ItemImpl, Lit, Meta, MetaList, TraitItem, Type, UseTree,
    Visibility,
};

/// An item that programs can name.
pub(crate) struct Public {
    /// Its path, as its module has it.
    pub(crate) path: String,
    pub(crate) name: String,
    /// It belongs to a type or a trait.
    pub(crate) is_associated: bool,
    /// Its own documentation has an example.
    pub(crate) has_example: bool,
}

impl fmt::Display for Public {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)
    }
}

/// A path from the crate's root.
type Place = Vec<String>;

struct Module {
    items: Vec<Item>,
    /// What its `use`s call what, and whether that is public.
    uses: BTreeMap<String, (Place, bool)>,
}

type Modules = BTreeMap<Place, Module>;

/// The items that are public from the crate's root on.
pub(crate) fn surface() -> Vec<Public> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut modules = Modules::new();
    add(parse(&root.join("lib.rs")).items, &root, &[], &mut modules);
    let mut reached = Reached { modules: &modules, seen: BTreeSet::new(), items: Vec::new() };
    reached.module(&[]);
    reached.methods();
    reached.items
}

fn parse(file: &Path) -> File {
    let text = fs::read_to_string(file);
    let parsed = text
        .map_err(|error| error.to_string())
        .and_then(|text| syn::parse_file(&text).map_err(|error| error.to_string()));
    parsed.unwrap_or_else(|error| panic!("{}: {error}", file.display()))
}

/// Adds the module at `place`, whose inner modules are in `folder`.
fn add(items: Vec<Item>, folder: &Path, place: &[String], modules: &mut Modules) {
    let mut uses = BTreeMap::new();
    for item in &items {
        match item {
            Item::Use(item) => {
                let is_public = is_public(&item.vis) && !is_hidden(&item.attrs);
                let mut note = |name: String, path: &[String]| {
                    if let Some(path) = absolute(path, place) {
                        uses.insert(name, (path, is_public));
                    }
                };
                used(&item.tree, &mut Vec::new(), &mut note);
            }
            Item::Mod(item) if !is_for_tests(&item.attrs) => {
                let name = item.ident.to_string();
                let (inner, folder) = (below(place, &name), folder.join(&name));
                let items = match &item.content {
                    Some((_, items)) => items.clone(),
                    None if folder.with_extension("rs").exists() => {
                        parse(&folder.with_extension("rs")).items
                    }
                    None => parse(&folder.join("mod.rs")).items,
                };
                add(items, &folder, &inner, modules);
            }
            _ => {}
        }
    }
    modules.insert(place.to_vec(), Module { items, uses });
}

fn below(place: &[String], name: &str) -> Place {
    place.iter().map(String::as_str).chain([name]).map(str::to_owned).collect()
}

/// Calls `note` with each name that a `use` brings, and its path.
fn used(tree: &UseTree, path: &mut Place, note: &mut impl FnMut(String, &[String])) {
    match tree {
        UseTree::Path(step) => {
            path.push(step.ident.to_string());
            used(&step.tree, path, note);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            note(path.last().expect("`self` is of something").clone(), path);
        }
        UseTree::Name(name) => note(name.ident.to_string(), &below(path, &name.ident.to_string())),
        UseTree::Rename(name) => {
            note(name.rename.to_string(), &below(path, &name.ident.to_string()));
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| used(tree, path, note)),
        UseTree::Glob(_) => {}
    }
}

/// A path as `place` has it, from the crate's root; if it is of another crate, it leads nowhere later.
fn absolute(path: &[String], place: &[String]) -> Option<Place> {
    let mut from = place.to_vec();
    let mut rest = path;
    while let Some((first, others)) = rest.split_first() {
        match first.as_str() {
            "crate" => from.clear(),
            "self" => {}
            "super" => drop(from.pop()?),
            _ => break,
        }
        rest = others;
    }
    from.extend_from_slice(rest);
    Some(from)
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition = list.tokens.to_string();
            condition
                .split(|c: char| !c.is_alphanumeric())
                .any(|word| word == "test" || word == "loom")
        }
        _ => false,
    })
}

/// Whether documentation leaves it out, be it by `cfg_attr`.
fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("doc") => list.tokens.to_string() == "hidden",
        Meta::List(list) => on_condition(list).is_some_and(|words| words.ends_with("doc(hidden)")),
        _ => false,
    })
}

/// What a `cfg_attr` says, without spaces.
fn on_condition(list: &MetaList) -> Option<String> {
    list.path.is_ident("cfg_attr").then(|| list.tokens.to_string().replace(' ', ""))
}

/// The documentation above an item. A fence that stands on a condition is one.
fn docs(attributes: &[Attribute]) -> String {
    let mut docs = String::new();
    for attribute in attributes {
        if let Meta::List(list) = &attribute.meta
            && on_condition(list).is_some_and(|words| words.ends_with("doc=\"```\""))
        {
            docs += "```\n";
        }
        let Meta::NameValue(pair) = &attribute.meta else { continue };
        let Expr::Lit(literal) = &pair.value else { continue };
        if let (true, Lit::Str(line)) = (pair.path.is_ident("doc"), &literal.lit) {
            docs += &line.value();
            docs.push('\n');
        }
    }
    docs
}

/// The name, visibility and attributes of an item that can be public, but for modules.
fn named(item: &Item) -> Option<(String, &Visibility, &[Attribute])> {
    let (name, visibility, attributes) = match item {
        Item::Const(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Enum(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Fn(item) => (&item.sig.ident, &item.vis, &item.attrs),
        Item::Static(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Struct(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Trait(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Type(item) => (&item.ident, &item.vis, &item.attrs),
        Item::Union(item) => (&item.ident, &item.vis, &item.attrs),
        _ => return None,
    };
    Some((name.to_string(), visibility, attributes))
}

/// What has been found to be public.
struct Reached<'m> {
    modules: &'m Modules,
    /// Items and modules, where they are defined.
    seen: BTreeSet<Place>,
    items: Vec<Public>,
}

impl Reached<'_> {
    /// All that is public in a module.
    fn module(&mut self, place: &[String]) {
        if !self.seen.insert(place.to_vec()) {
            return;
        }
        let module = &self.modules[place];
        for item in &module.items {
            if let Item::Mod(inner) = item {
                if is_public(&inner.vis) && !is_hidden(&inner.attrs) && !is_for_tests(&inner.attrs)
                {
                    self.module(&below(place, &inner.ident.to_string()));
                }
            } else if named(item).is_some_and(|(_, visibility, _)| is_public(visibility)) {
                self.item(place, item);
            }
        }
        let public = module.uses.values().filter(|(_, is_public)| *is_public);
        public.for_each(|(path, _)| self.path(path));
    }

    /// What a re-export leads to.
    fn path(&mut self, path: &[String]) {
        let Some(path) = resolved(self.modules, path) else { return };
        if self.modules.contains_key(&path) {
            return self.module(&path);
        }
        let (name, place) = path.split_last().expect("the root is a module");
        let is_it = |item: &&Item| named(item).is_some_and(|(own, ..)| own == *name);
        if let Some(item) = self.modules[place].items.iter().find(is_it) {
            self.item(place, item);
        }
    }

    fn item(&mut self, place: &[String], item: &Item) {
        let (name, _, attributes) = named(item).expect("it has a name");
        let path = below(place, &name);
        if is_hidden(attributes) || !self.seen.insert(path.clone()) {
            return;
        }
        self.note(&path, false, attributes);
        if let Item::Trait(item) = item {
            for inner in &item.items {
                let (name, attributes) = match inner {
                    TraitItem::Const(inner) => (&inner.ident, &inner.attrs),
                    TraitItem::Fn(inner) => (&inner.sig.ident, &inner.attrs),
                    TraitItem::Type(inner) => (&inner.ident, &inner.attrs),
                    _ => continue,
                };
                self.note(&below(&path, &name.to_string()), true, attributes);
            }
        }
    }

    /// The methods of the types that were found.
    fn methods(&mut self) {
        for (place, module) in self.modules {
            for item in &module.items {
                if let Item::Impl(item) = item
                    && item.trait_.is_none()
                    && !is_for_tests(&item.attrs)
                    && let Some(path) = self.type_of(place, item)
                {
                    self.methods_in(&path, item);
                }
            }
        }
    }

    /// The type that an `impl` is of, if it was found.
    fn type_of(&self, place: &[String], item: &ItemImpl) -> Option<Place> {
        let Type::Path(own) = &*item.self_ty else { return None };
        let steps: Place = own.path.segments.iter().map(|step| step.ident.to_string()).collect();
        let path = resolved(self.modules, &absolute(&steps, place)?)?;
        self.seen.contains(&path).then_some(path)
    }

    fn methods_in(&mut self, path: &[String], item: &ItemImpl) {
        for inner in &item.items {
            let (name, visibility, attributes) = match inner {
                ImplItem::Const(inner) => (&inner.ident, &inner.vis, &inner.attrs),
                ImplItem::Fn(inner) => (&inner.sig.ident, &inner.vis, &inner.attrs),
                _ => continue,
            };
            if is_public(visibility) {
                self.note(&below(path, &name.to_string()), true, attributes);
            }
        }
    }

    fn note(&mut self, path: &[String], is_associated: bool, attributes: &[Attribute]) {
        if is_hidden(attributes) {
            return;
        }
        let name = path.last().expect("items have names").clone();
        let has_example = !super::examples::blocks(&docs(attributes)).is_empty();
        self.items.push(Public { path: path.join("::"), name, is_associated, has_example });
    }
}

/// Where what a path means is defined: re-exports and imports followed. `None`: in another crate.
fn resolved(modules: &Modules, path: &[String]) -> Option<Place> {
    if modules.contains_key(path) {
        return Some(path.to_vec());
    }
    let (name, place) = path.split_last()?;
    let place = resolved(modules, place)?;
    let module = modules.get(&place)?;
    if module.items.iter().any(|item| named(item).is_some_and(|(own, ..)| own == *name)) {
        return Some(below(&place, name));
    }
    let (path, _) = module.uses.get(name)?;
    resolved(modules, path)
}
