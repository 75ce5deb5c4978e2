//! Checks that the code keeps its layers: each module imports only from those before it in [`LAYERS`], and no modules
//! import each other in a circle. docs/src/design/architecture.md describes what each layer is for. Also checks that no
//! module hands an error to another one as a text, which nobody could tell from another error.
//!
//! A module is a file. Tests may import what they like.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use syn::{
    Attribute, Field, File, GenericArgument, Item, ItemMod, ItemUse, PathArguments, Signature,
    Type, UseTree, Visibility,
    visit::{self, Visit},
};

/// The layers of the bridge from the ground up.
const LAYERS: &[&[&str]] = &[
    // Leaves, which know nothing of messages.
    &[
        "hash",
        "suggest",
        "failure",
        "subject",
        "text",
        "mask",
        "tls",
        "json",
        "directory",
        "state_file",
        "secrets",
        "signals",
        "reserved",
        "book",
        "signature",
    ],
    &["samples"],
    &["message"],
    &["config"],
    &["log"],
    &["status"],
    &["nats"],
    &["matrix"],
    &["source"],
    &["decode"],
    &["answers"],
    &["alerts"],
    &["render"],
    &["pipeline"],
    &["summary"],
    &["health"],
    &["listen"],
    // Programs of their own in the same binary, which only `cli` knows.
    &["provision", "publish", "refresh"],
    &["run"],
    &["cli"],
    &["fuzzing"],
];

/// The imports against the order that are allowed, each with its reason.
const ALLOWED: &[(&str, &str, &str)] = &[];

#[test]
fn modules_of_the_bridge_import_each_other_in_no_circle() -> Result<()> {
    let house = House::read(&source("."))?;
    let circles = house.circles();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
    Ok(())
}

#[test]
fn modules_of_the_testbed_import_each_other_in_no_circle() -> Result<()> {
    let house = House::read(&source("../testbed"))?;
    let circles = house.circles();
    assert!(circles.is_empty(), "{}", circles.join("\n"));
    Ok(())
}

#[test]
fn layers_import_downwards() -> Result<()> {
    let house = House::read(&source("."))?;
    let mut upwards = Vec::new();
    for (from, to, names) in house.imports() {
        if from.is_empty() || to.is_empty() {
            continue;
        }
        let is_allowed = ALLOWED.iter().any(|(a, b, _)| *a == from && *b == to);
        if level(&from)? < level(&to)? && !is_allowed {
            upwards.push(format!("{from} imports {names} from {to}, which is above it"));
        }
    }
    assert!(upwards.is_empty(), "{}", upwards.join("\n"));
    Ok(())
}

#[test]
fn errors_that_leave_a_file_have_types() -> Result<()> {
    let mut found = Vec::new();
    for package in [".", "../testbed"] {
        let (source, mut files) = (source(package), BTreeMap::new());
        read_files(&source, &source, &mut files)?;
        ensure!(!files.is_empty(), "no code below {}", source.display());
        for (module, file) in &files {
            let texts = TextErrors::of(file);
            found.extend(texts.into_iter().map(|item| format!("{module}: {item}")));
        }
    }
    assert!(
        found.is_empty(),
        "other files get errors that are only texts; name the cases with thiserror:\n{}",
        found.join("\n")
    );
    Ok(())
}

#[test]
fn an_error_that_is_only_a_text_is_found() -> Result<()> {
    let code = r"
        pub(crate) fn a() -> Result<(), String> { Ok(()) }
        pub(super) async fn b() -> Option<std::result::Result<u8, &'static str>> { None }
        pub fn c(work: impl Fn() -> Result<u8, Cow<'static, str>>) {}
        fn private() -> Result<(), String> { Ok(()) }
        pub(crate) fn typed() -> Result<String, Typed> { todo!() }
        pub(crate) fn of_io() -> io::Result<String> { todo!() }
        impl S {
            pub(crate) fn d(&self) -> Result<u8, Box<str>> { todo!() }
            fn private(&self) -> Result<u8, String> { todo!() }
        }
        impl TryFrom<u8> for S {
            type Error = String;
            fn try_from(byte: u8) -> Result<Self, Self::Error> { todo!() }
        }
        trait T { fn e(&self) -> Result<u8, String>; }
        pub(crate) struct F { pub(crate) f: Result<u8, String>, private: Result<u8, String> }
        pub(crate) enum G { G(Result<u8, String>) }
        enum Private { P(Result<u8, String>) }
        pub(crate) type H<T> = Result<T, String>;
        #[cfg(test)]
        mod tests { pub(crate) fn of_tests() -> Result<(), String> { Ok(()) } }
    ";
    let found = TextErrors::of(&syn::parse_file(code)?);
    assert_eq!(found, ["a", "b", "c", "d", "Error", "e", "f", "G", "H"]);
    Ok(())
}

#[test]
fn a_circle_is_found() {
    let import = |from: &str, to: &str| {
        ((from.to_owned(), to.to_owned()), BTreeSet::from(["It".to_owned()]))
    };
    let imports =
        BTreeMap::from([import("a", "b"), import("b", "c"), import("c", "a"), import("c", "d")]);
    let house = House { modules: BTreeMap::new(), imports };
    assert_eq!(house.circles().len(), 1, "{:?}", house.circles());
}

fn level(module: &str) -> Result<usize> {
    let top = module.split("::").next().unwrap_or_default();
    LAYERS
        .iter()
        .position(|layer| layer.contains(&top))
        .with_context(|| format!("module {top} has no layer: say in LAYERS which one is its own"))
}

fn source(package: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(package).join("src")
}

/// A module by its path, as `pipeline::rooms`; that of the crate's root is empty.
type Module = String;

/// The modules of a crate, and what they import from each other.
struct House {
    modules: BTreeMap<Module, Names>,
    /// The names that one module takes from another.
    imports: BTreeMap<(Module, Module), BTreeSet<String>>,
}

/// The names that a module hands on and uses.
#[derive(Default)]
struct Names {
    /// The paths that its names stand for which it only hands on.
    handed_on: BTreeMap<String, Vec<String>>,
    /// Every path in it, each from the root of the crate.
    used: BTreeSet<Vec<String>>,
}

impl House {
    fn read(source: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        read_files(source, source, &mut files)?;
        ensure!(!files.is_empty(), "no code below {}", source.display());
        for module in modules_of_tests(&files) {
            files.remove(&module);
        }
        let known: BTreeSet<Module> = files.keys().cloned().collect();
        let modules = files
            .iter()
            .map(|(module, file)| (module.clone(), Reader::read(module, file, &known)))
            .collect();
        let mut house = Self { modules, imports: BTreeMap::new() };
        house.imports = house.find_imports();
        Ok(house)
    }

    fn find_imports(&self) -> BTreeMap<(Module, Module), BTreeSet<String>> {
        let mut imports: BTreeMap<_, BTreeSet<String>> = BTreeMap::new();
        for (from, names) in &self.modules {
            for path in &names.used {
                let Some((to, name)) = self.resolve(path, 0) else { continue };
                // A path that names no item only leads to other modules, and is no import.
                if to != *from && !name.is_empty() {
                    imports.entry((from.clone(), to)).or_default().insert(name);
                }
            }
        }
        imports
    }

    /// The module that defines what a path names, and its name there.
    fn resolve(&self, path: &[String], depth: usize) -> Option<(Module, String)> {
        let length = (0..=path.len())
            .rev()
            .find(|length| self.modules.contains_key(&path[..*length].join("::")))?;
        let module = path[..length].join("::");
        let Some(name) = path.get(length) else { return Some((module, String::new())) };
        match self.modules[&module].handed_on.get(name) {
            Some(target) if depth < 8 => {
                let full: Vec<String> = target.iter().chain(&path[length + 1..]).cloned().collect();
                self.resolve(&full, depth + 1)
            }
            _ => Some((module, name.clone())),
        }
    }

    fn imports(&self) -> Vec<(Module, Module, String)> {
        let names = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
        self.imports
            .iter()
            .map(|((from, to), taken)| (from.clone(), to.clone(), names(taken)))
            .collect()
    }

    /// The sets of modules that can all be reached from each other, each in words.
    fn circles(&self) -> Vec<String> {
        let reached = |from: &Module| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![from.clone()]);
            while let Some(module) = next.pop() {
                for (_, to) in self.imports.keys().filter(|(from, _)| *from == module) {
                    if seen.insert(to.clone()) {
                        next.push(to.clone());
                    }
                }
            }
            seen
        };
        let from: BTreeSet<&Module> = self.imports.keys().map(|(from, _)| from).collect();
        let reach: BTreeMap<&Module, BTreeSet<Module>> =
            from.into_iter().map(|from| (from, reached(from))).collect();
        let mut circles: BTreeSet<BTreeSet<&Module>> = BTreeSet::new();
        for (module, reached) in reach.iter().filter(|(module, reached)| reached.contains(**module))
        {
            let members = reach
                .keys()
                .filter(|other| reached.contains(**other) && reach[*other].contains(*module));
            circles.insert(members.copied().collect());
        }
        let words = |circle: BTreeSet<&Module>| {
            let arrows = self
                .imports
                .iter()
                .filter(|((from, to), _)| circle.contains(from) && circle.contains(to));
            let arrows: Vec<String> =
                arrows.map(|((from, to), names)| format!("  {from} -> {to}: {names:?}")).collect();
            format!(
                "{} modules import each other in a circle:\n{}",
                circle.len(),
                arrows.join("\n")
            )
        };
        circles.into_iter().map(words).collect()
    }
}

/// The modules that are declared for tests alone.
fn modules_of_tests(files: &BTreeMap<Module, File>) -> Vec<Module> {
    let declared = |(module, file): (&Module, &File)| -> Vec<Module> {
        let child = |item: &Item| match item {
            Item::Mod(item) if item.content.is_none() && is_of_tests(&item.attrs) => {
                Some(format!("{module}::{}", item.ident).trim_start_matches(':').to_owned())
            }
            _ => None,
        };
        file.items.iter().filter_map(child).filter(|child| child != "fuzzing").collect()
    };
    files.iter().flat_map(declared).collect()
}

fn read_files(root: &Path, directory: &Path, files: &mut BTreeMap<Module, File>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() {
            read_files(root, &path, files)?;
        }
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path)?;
        let file = syn::parse_file(&text).with_context(|| path.display().to_string())?;
        let path = path.strip_prefix(root)?.with_extension("");
        let steps: Vec<_> = path.iter().map(|step| step.to_string_lossy().into_owned()).collect();
        let module = match steps.as_slice() {
            // Programs of their own, which begin from the root.
            [bin, name, rest @ ..] if bin == "bin" => {
                let rest = rest.iter().filter(|step| *step != "main");
                [format!("bin-{name}")].iter().chain(rest).cloned().collect::<Vec<_>>().join("::")
            }
            [only] if only == "lib" => String::new(),
            [only] if only == "main" => "main".to_owned(),
            [steps @ .., last] if last == "mod" => steps.join("::"),
            steps => steps.join("::"),
        };
        files.insert(module, file);
    }
    Ok(())
}

/// Reads one file.
struct Reader<'a> {
    module: &'a str,
    known: &'a BTreeSet<Module>,
    /// The modules and items that names of this file stand for.
    scope: BTreeMap<String, Vec<String>>,
    names: Names,
}

impl<'a> Reader<'a> {
    fn read(module: &'a str, file: &File, known: &'a BTreeSet<Module>) -> Names {
        let mut reader = Self { module, known, scope: BTreeMap::new(), names: Names::default() };
        for item in &file.items {
            if let Item::Use(item) = item
                && !is_of_tests(&item.attrs)
            {
                reader.take_use(item);
            }
        }
        reader.visit_file(file);
        reader.names
    }

    fn take_use(&mut self, item: &ItemUse) {
        let mut leaves = Vec::new();
        leaves_of(&item.tree, &mut Vec::new(), &mut leaves);
        for (path, name) in leaves {
            let Some(path) = self.rooted(&path) else { continue };
            if matches!(item.vis, Visibility::Inherited) {
                self.names.used.insert(path.clone());
            } else {
                self.names.handed_on.insert(name.clone(), path.clone());
            }
            self.scope.insert(name, path);
        }
    }

    /// The root of the crate that the module is in.
    fn root(&self) -> Vec<String> {
        match self.module.split("::").next() {
            Some(bin) if bin.starts_with("bin-") => vec![bin.to_owned()],
            _ => Vec::new(),
        }
    }

    /// A path from the root of the crate, or `None` if it is of another crate.
    fn rooted(&self, path: &[String]) -> Option<Vec<String>> {
        let own: Vec<String> =
            self.module.split("::").filter(|step| !step.is_empty()).map(str::to_owned).collect();
        let (first, rest) = path.split_first()?;
        let full = |base: Vec<String>, rest: &[String]| [base, rest.to_vec()].concat();
        match first.as_str() {
            "crate" => Some(full(self.root(), rest)),
            "self" => Some(full(own, rest)),
            "super" => {
                let mut base = own;
                base.pop();
                let more = rest.iter().take_while(|step| *step == "super").count();
                base.truncate(base.len().saturating_sub(more));
                Some(full(base, &rest[more..]))
            }
            name => {
                let child = full(own, &[name.to_owned()]);
                if self.known.contains(&child.join("::")) {
                    return Some(full(child, rest));
                }
                self.scope.get(name).map(|base| full(base.clone(), rest))
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, _: &'ast ItemUse) {}

    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_of_tests(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let steps: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if steps.len() > 1
            && path.leading_colon.is_none()
            && let Some(path) = self.rooted(&steps)
        {
            self.names.used.insert(path);
        }
        visit::visit_path(self, path);
    }
}

fn leaves_of(tree: &UseTree, path: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(step) => {
            path.push(step.ident.to_string());
            leaves_of(&step.tree, path, leaves);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            leaves.push((path.clone(), path.last().cloned().unwrap_or_default()));
        }
        UseTree::Name(name) => leaves
            .push(([path.clone(), vec![name.ident.to_string()]].concat(), name.ident.to_string())),
        UseTree::Rename(rename) => {
            leaves.push((
                [path.clone(), vec![rename.ident.to_string()]].concat(),
                rename.rename.to_string(),
            ));
        }
        UseTree::Glob(_) => {
            leaves.push(([path.clone(), vec!["*".to_owned()]].concat(), "*".to_owned()));
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves_of(tree, path, leaves)),
    }
}

/// Finds the items of a file that other files can see and that have a text as an error.
#[derive(Default)]
struct TextErrors {
    found: Vec<String>,
    /// Whether a type with a text as an error was met.
    is_met: bool,
}

impl TextErrors {
    fn of(file: &File) -> Vec<String> {
        let mut reader = Self::default();
        reader.visit_file(file);
        reader.found
    }

    /// Notes the item of this name if what is visited has a text as an error.
    fn note(&mut self, name: &syn::Ident, visit: impl FnOnce(&mut Self)) {
        self.is_met = false;
        visit(self);
        if std::mem::take(&mut self.is_met) {
            self.found.push(name.to_string());
        }
    }

    fn note_function(&mut self, signature: &Signature) {
        self.note(&signature.ident, |reader| reader.visit_signature(signature));
    }
}

fn is_visible(visibility: &Visibility) -> bool {
    !matches!(visibility, Visibility::Inherited)
}

/// Whether a type is a text, owned or not.
fn is_text(of: &Type) -> bool {
    match of {
        Type::Reference(reference) => is_text(&reference.elem),
        Type::Path(path) => path.path.segments.last().is_some_and(|last| {
            let holds_text = |arguments: &PathArguments| match arguments {
                PathArguments::AngleBracketed(arguments) => arguments
                    .args
                    .iter()
                    .any(|argument| matches!(argument, GenericArgument::Type(of) if is_text(of))),
                _ => false,
            };
            last.ident == "String"
                || last.ident == "str"
                || ["Arc", "Box", "Cow", "Rc"].iter().any(|name| last.ident == name)
                    && holds_text(&last.arguments)
        }),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for TextErrors {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_of_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if is_visible(&item.vis) && !is_of_tests(&item.attrs) {
            self.note_function(&item.sig);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_visible(&item.vis) {
            self.note_function(&item.sig);
        }
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.note_function(&item.sig);
    }

    fn visit_impl_item_type(&mut self, item: &'ast syn::ImplItemType) {
        if (item.ident == "Error" || item.ident == "Err") && is_text(&item.ty) {
            self.found.push(item.ident.to_string());
        }
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        if is_visible(&item.vis) {
            self.note(&item.ident, |reader| reader.visit_type(&item.ty));
        }
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        if is_visible(&item.vis) {
            self.note(&item.ident, |reader| {
                let fields = item.variants.iter().flat_map(|variant| &variant.fields);
                fields.for_each(|field| reader.visit_type(&field.ty));
            });
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if let Some(name) = field.ident.as_ref().filter(|_| is_visible(&field.vis)) {
            self.note(name, |reader| reader.visit_type(&field.ty));
        }
    }

    fn visit_path_segment(&mut self, segment: &'ast syn::PathSegment) {
        if let PathArguments::AngleBracketed(arguments) = &segment.arguments
            && segment.ident == "Result"
            && let Some(GenericArgument::Type(error)) = arguments.args.iter().nth(1)
        {
            self.is_met |= is_text(error);
        }
        visit::visit_path_segment(self, segment);
    }
}

/// Whether something is compiled only for tests, or for fuzzing.
fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text =
            attribute.meta.require_list().map(|list| list.tokens.to_string()).unwrap_or_default();
        attribute.path().is_ident("cfg") && (text.contains("test") || text.contains("fuzzing"))
    })
}
