//! The layout of `src`: imports form no circle, point downwards only, and no layer imports another layer. A type has a
//! name of its own. `ARCHITECTURE.md` has the map.
//!
//! An import of a re-export counts as an import of the file that defines the item. A module may re-export its children,
//! unless it uses them itself. Paths in macro arguments count as well. Tests and models are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree, Visibility};

/// The names that several modules give to a type, since the module is a part of the name: `retry::ResponseFuture`.
const SHARED_NAMES: [&str; 1] = ["ResponseFuture"];

/// The levels of the crate from the bottom up. A file imports from its own level and from those below.
const LEVELS: [&[&str]; 5] = [
    &["internal", "sealed.rs"],
    &[
        "advice.rs",
        "attempts.rs",
        "call.rs",
        "classify",
        "classify.rs",
        "config_error.rs",
        "endpoint.rs",
        "error",
        "error.rs",
        "http",
        "response_ext.rs",
        "response_kind.rs",
        "stale.rs",
        "stop_reason.rs",
    ],
    &[
        "buffer_body",
        "bulkhead",
        "circuit_breaker",
        "deadline",
        "endpoints",
        "last_known_good",
        "per_upstream",
        "retry",
        "timeout",
    ],
    &["stores"],
    &["client", "lib.rs"],
];

/// The module path of a file: `retry/budget.rs` is `["retry", "budget"]`.
type ModulePath = Vec<String>;

#[derive(Default)]
struct Module {
    file: PathBuf,
    types: Vec<String>,
    defined: BTreeSet<String>,
    /// The names that `use` brings into the module, and the paths that they stand for; none for other crates.
    aliases: BTreeMap<String, Option<ModulePath>>,
    /// The re-exported names of children.
    exports: BTreeSet<String>,
    /// The child modules that the file declares.
    children: BTreeSet<String>,
    /// The paths that the module imports or names.
    imports: BTreeSet<ModulePath>,
}

#[derive(Default)]
struct Crate {
    modules: BTreeMap<ModulePath, Module>,
}

impl Crate {
    fn read() -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut found = Self::default();
        found.read_folder(&source, &source);
        found
    }

    fn read_folder(&mut self, source: &Path, folder: &Path) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                self.read_folder(source, &path);
                continue;
            }
            let file = path.strip_prefix(source).unwrap().to_owned();
            let mut module: ModulePath =
                file.with_extension("").iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if matches!(module.last().unwrap().as_str(), "mod" | "lib") {
                module.pop();
            }
            let for_tests = ["tests", "models", "modelled"];
            if module.iter().any(|part| for_tests.contains(&part.as_str())) {
                continue;
            }
            let parsed = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
            let mut reader = Reader { path: module.clone(), module: Module { file, ..Module::default() } };
            reader.read_children(&parsed);
            reader.visit_file(&parsed);
            self.modules.insert(module, reader.module);
        }
    }

    /// The module that defines the item at `path`; none if the path leads out of the crate.
    fn defining(&self, path: &[String]) -> Option<&Module> {
        let mut at: ModulePath = Vec::new();
        for (index, name) in path.iter().enumerate() {
            let module = &self.modules[&at];
            at.push(name.clone());
            if self.modules.contains_key(&at) {
                continue;
            }
            if module.defined.contains(name) {
                return Some(module);
            }
            let target = module.aliases.get(name);
            let target = target.unwrap_or_else(|| panic!("{} has no {path:?}", module.file.display()));
            let rest = &path[index + 1..];
            return self.defining(&target.as_ref()?.iter().chain(rest).cloned().collect::<Vec<_>>());
        }
        self.modules.get(&at)
    }

    /// The files that each file imports.
    fn imports(&self) -> BTreeMap<&Path, BTreeSet<&Path>> {
        let of = |module: &Module| {
            let targets = module.imports.iter().filter_map(|path| self.defining(path));
            targets.map(|target| target.file.as_path()).filter(|file| *file != module.file).collect()
        };
        self.modules.values().map(|module| (module.file.as_path(), of(module))).collect()
    }
}

struct Reader {
    path: ModulePath,
    module: Module,
}

impl Reader {
    fn read_children(&mut self, file: &syn::File) {
        let modules = file.items.iter().filter_map(|item| match item {
            Item::Mod(module) if !is_for_tests(&module.attrs) => Some(module),
            _ => None,
        });
        for module in modules {
            assert!(module.content.is_none(), "{} has an inline module", self.module.file.display());
            self.module.children.insert(module.ident.to_string());
        }
    }

    /// `path` from the root of the crate; none if it leads out of the crate.
    fn absolute(&self, path: &[String]) -> Option<ModulePath> {
        let mut at = match path.first()?.as_str() {
            "crate" => Vec::new(),
            "self" => self.path.clone(),
            "super" => self.path[..self.path.len() - 1].to_vec(),
            child if self.module.children.contains(child) => [&self.path[..], &[child.to_owned()]].concat(),
            first => {
                let module = self.module.aliases.get(first)?.as_ref()?;
                return Some(module.iter().chain(&path[1..]).cloned().collect());
            }
        };
        for name in &path[1..] {
            if name == "super" {
                at.pop();
            } else {
                at.push(name.clone());
            }
        }
        Some(at)
    }

    fn read_use(&mut self, tree: &UseTree, mut prefix: Vec<String>, is_export: bool) {
        match tree {
            UseTree::Path(path) => {
                prefix.push(path.ident.to_string());
                self.read_use(&path.tree, prefix, is_export);
            }
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| self.read_use(tree, prefix.clone(), is_export));
            }
            UseTree::Name(name) => self.read_name(prefix, &name.ident.to_string(), None, is_export),
            UseTree::Rename(name) => {
                self.read_name(prefix, &name.ident.to_string(), Some(name.rename.to_string()), is_export);
            }
            UseTree::Glob(_) => panic!("{} imports by a glob", self.module.file.display()),
        }
    }

    fn read_name(&mut self, mut path: Vec<String>, name: &str, rename: Option<String>, is_export: bool) {
        if name != "self" {
            path.push(name.to_owned());
        }
        let alias = rename.unwrap_or_else(|| path.last().unwrap().clone());
        let target = self.absolute(&path);
        if let Some(target) = &target {
            if is_export && target.starts_with(&self.path) {
                self.module.exports.insert(alias.clone());
            } else {
                self.module.imports.insert(target.clone());
            }
        }
        self.module.aliases.insert(alias, target);
    }

    fn read_path(&mut self, names: &[String]) {
        if names.len() > 1 || self.module.exports.contains(&names[0]) {
            self.module.imports.extend(self.absolute(names));
        }
    }
}

/// True if an item is compiled for tests or models only.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    let conditions = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    conditions.filter_map(|attribute| attribute.meta.require_list().ok()).any(|condition| {
        let condition = condition.tokens.to_string().replace(' ', "");
        let flags = ["test", "steadfast_loom"];
        flags.iter().any(|flag| condition == *flag || condition.starts_with(&format!("all({flag},")))
    })
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        let (attributes, name, is_type) = match item {
            Item::Struct(item) => (&item.attrs, &item.ident, true),
            Item::Enum(item) => (&item.attrs, &item.ident, true),
            Item::Trait(item) => (&item.attrs, &item.ident, true),
            Item::Type(item) => (&item.attrs, &item.ident, true),
            Item::Fn(item) => (&item.attrs, &item.sig.ident, false),
            Item::Const(item) => (&item.attrs, &item.ident, false),
            Item::Static(item) => (&item.attrs, &item.ident, false),
            _ => return visit::visit_item(self, item),
        };
        if is_for_tests(attributes) {
            return;
        }
        self.module.defined.insert(name.to_string());
        if is_type {
            self.module.types.push(name.to_string());
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, _: &'ast ItemMod) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.read_use(&item.tree, Vec::new(), !matches!(item.vis, Visibility::Inherited));
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path.leading_colon.is_none() {
            self.read_path(&names);
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        let tokens = call.tokens.to_string().replace(" :: ", "::");
        let words = tokens.split(|char: char| !char.is_alphanumeric() && !['_', ':'].contains(&char));
        for word in
            words.filter(|word| ["crate::", "self::", "super::"].iter().any(|it| word.starts_with(it)))
        {
            self.read_path(&word.split("::").map(str::to_owned).collect::<Vec<_>>());
        }
        visit::visit_macro(self, call);
    }
}

/// The folder or file below `src` that a file belongs to.
fn part(file: &Path) -> &str {
    file.iter().next().unwrap().to_str().unwrap()
}

fn level(file: &Path) -> usize {
    let level = LEVELS.iter().position(|parts| parts.contains(&part(file)));
    level.unwrap_or_else(|| panic!("{} has no level", file.display()))
}

/// The groups of nodes that reach each other.
fn circles<'a, N: Ord + Copy + 'a>(edges: &BTreeMap<N, BTreeSet<N>>) -> Vec<Vec<N>> {
    let reachable = |from: N| {
        let mut seen = BTreeSet::new();
        let mut open = vec![from];
        while let Some(node) = open.pop() {
            open.extend(edges.get(&node).into_iter().flatten().copied().filter(|next| seen.insert(*next)));
        }
        seen
    };
    let reached: BTreeMap<N, BTreeSet<N>> = edges.keys().map(|node| (*node, reachable(*node))).collect();
    let mut found = BTreeSet::new();
    for (node, to) in &reached {
        let circle: Vec<N> = to.iter().copied().filter(|other| reached[other].contains(node)).collect();
        if !circle.is_empty() {
            found.insert(circle);
        }
    }
    found.into_iter().collect()
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let found = Crate::read();
    let circles = circles(&found.imports());
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn no_folders_of_a_layer_import_each_other_in_a_circle() {
    let found = Crate::read();
    let mut edges: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
    for (file, imports) in found.imports() {
        let folder = file.parent().unwrap();
        let of_the_layer = imports.into_iter().filter(|import| part(import) == part(file));
        let folders = of_the_layer.map(|import| import.parent().unwrap()).filter(|other| *other != folder);
        edges.entry(folder).or_default().extend(folders);
    }
    let circles = circles(&edges);
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn no_import_points_upwards_and_no_layer_imports_another() {
    let found = Crate::read();
    let mut wrong = Vec::new();
    for (file, imports) in found.imports() {
        for import in imports {
            let upwards = level(import) > level(file);
            let sideways = level(import) == 2 && level(file) == 2 && part(import) != part(file);
            if upwards || sideways {
                wrong.push((file.to_owned(), import.to_owned()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_type_name_is_given_once() {
    let found = Crate::read();
    let mut places: BTreeMap<&str, Vec<&Path>> = BTreeMap::new();
    for module in found.modules.values() {
        for name in module.types.iter().filter(|name| !SHARED_NAMES.contains(&name.as_str())) {
            places.entry(name).or_default().push(&module.file);
        }
    }
    places.retain(|_, files| files.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}
