//! Which file imports which: paths are resolved through re-exports to the file that defines the item.

use super::source::{Import, Module, Source, UsedPath};
use std::collections::{BTreeMap, BTreeSet};

/// Stops re-exports that lead to each other.
const MAX_REEXPORTS: usize = 16;

/// The sources of one crate.
pub struct Crate {
    pub sources: Vec<Source>,
    /// Every module, inline ones too.
    modules: BTreeSet<Module>,
    /// The file of each module that has one of its own.
    files: BTreeMap<Module, usize>,
    /// The file that defines each item.
    items: BTreeMap<Module, usize>,
    imports: BTreeMap<Module, Vec<Import>>,
}

/// What a path leads to.
#[derive(Debug, PartialEq)]
enum Target {
    Module(Module),
    /// An item, with the index of the file that defines it.
    Item(usize),
}

/// One file that uses an item of another one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    pub from: usize,
    pub to: usize,
}

/// Where a module stands in the table of `lib.rs`. Modules of one row may import each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Place {
    pub layer: u32,
    pub row: usize,
}

impl Crate {
    /// Reads sources, each given by its path below `src` and its text.
    pub fn new<'a>(texts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut sources: Vec<_> = texts.into_iter().map(|(name, text)| Source::parse(name, text)).collect();
        let tests: Vec<Module> = sources
            .iter()
            .flat_map(|source| source.test_children.iter().map(|child| child_of(&source.module, child)))
            .collect();
        for source in &mut sources {
            if tests.iter().any(|test| source.module.starts_with(test)) {
                source.mark_as_test();
            }
        }
        let modules = sources
            .iter()
            .flat_map(|source| source.paths.iter().map(|path| &path.module).chain([&source.module]).cloned());
        let modules = modules.chain([vec![]]).collect();
        let (mut files, mut items, mut imports) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (at, source) in sources.iter().enumerate() {
            files.insert(source.module.clone(), at);
            items.extend(source.items.iter().map(|item| (item.clone(), at)));
            for import in &source.imports {
                imports.entry(import.module.clone()).or_insert_with(Vec::new).push(import.clone());
            }
        }
        Self { sources, modules, files, items, imports }
    }

    /// The groups of files that import each other, each with the uses that close the circle.
    pub fn file_cycles(&self) -> Vec<String> {
        let uses = self.item_uses();
        let edges = uses.keys().map(|edge| (edge.from, edge.to)).collect();
        let groups = cycles(&edges);
        groups
            .into_iter()
            .map(|group| {
                let inside = |edge: &&Edge| group.contains(&edge.from) && group.contains(&edge.to);
                uses.keys().filter(inside).map(|edge| uses[edge].clone()).collect::<Vec<_>>().join("\n")
            })
            .collect()
    }

    /// The groups of top-level modules that import each other.
    pub fn module_cycles(&self) -> Vec<String> {
        let names: BTreeSet<&str> = self.sources.iter().map(|source| top(&source.module)).collect();
        let names: Vec<&str> = names.into_iter().collect();
        let position = |name: &str| names.binary_search(&name).ok();
        let uses = self.module_uses().filter(|(_, path, _)| !path.in_test);
        let edges = uses
            .filter_map(|(source, _, used)| Some((position(top(&source.module))?, position(&used)?)))
            .filter(|(from, to)| from != to)
            .collect();
        let name = |group: Vec<usize>| group.into_iter().map(|at| names[at]).collect::<Vec<_>>().join(" ↔ ");
        cycles(&edges).into_iter().map(name).collect()
    }

    /// The uses of a module on a layer that is not below the user's, test code included.
    pub fn upward_imports(&self, table: &BTreeMap<String, Place>) -> Vec<String> {
        let uses = self.module_uses().filter_map(|(source, path, used)| {
            let (from, to) = (table.get(top(&source.module))?, table.get(&used)?);
            (to.row != from.row && to.layer >= from.layer).then(|| {
                let (name, line) = (&source.name, path.line);
                format!("{name}:{line} (layer {}) uses {used} (layer {})", from.layer, to.layer)
            })
        });
        uses.collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The uses, outside test code, of one file's item by another file; for each pair the first one.
    fn item_uses(&self) -> BTreeMap<Edge, String> {
        let mut found = BTreeMap::new();
        for (from, source) in self.sources.iter().enumerate() {
            for path in source.paths.iter().filter(|path| !path.in_test) {
                let Some(Target::Item(to)) = self.resolve(&path.module, &path.segments, MAX_REEXPORTS) else {
                    continue;
                };
                if to != from {
                    let used = path.segments.join("::");
                    let text =
                        format!("{}:{} uses {used} of {}", source.name, path.line, self.sources[to].name);
                    found.entry(Edge { from, to }).or_insert(text);
                }
            }
        }
        found
    }

    /// Each path that leads to another top-level module, with the file that names it and that module.
    fn module_uses(&self) -> impl Iterator<Item = (&Source, &UsedPath, String)> {
        let all = self.sources.iter().flat_map(|source| source.paths.iter().map(move |path| (source, path)));
        all.filter_map(|(source, path)| {
            let used = self.top_module(&path.module, &path.segments)?;
            (used != top(&source.module)).then_some((source, path, used))
        })
    }

    /// The top-level module that a path names, re-exports aside: those are the re-exporting module's own imports.
    fn top_module(&self, from: &[String], path: &[String]) -> Option<String> {
        let (start, rest) = start(from, path)?;
        let module = [&start[..], rest].concat();
        let name = module.first()?;
        self.modules.contains(std::slice::from_ref(name)).then(|| name.clone())
    }

    fn resolve(&self, from: &[String], path: &[String], depth: usize) -> Option<Target> {
        let depth = depth.checked_sub(1)?;
        match start(from, path) {
            Some((module, rest)) => self.descend(module, rest, depth),
            None => self.descend(from.to_vec(), path, depth),
        }
    }

    /// Follows the rest of a path from a module on.
    fn descend(&self, module: Module, rest: &[String], depth: usize) -> Option<Target> {
        let Some((name, rest)) = rest.split_first() else { return Some(Target::Module(module)) };
        if name == "*" {
            return self.files.get(&module).copied().map(Target::Item);
        }
        let inner = child_of(&module, name);
        if rest.is_empty() || !self.modules.contains(&inner) {
            let defined = self.items.get(&inner).copied();
            let found = defined.map(Target::Item).or_else(|| self.imported(&module, name, rest, depth));
            if found.is_some() {
                return found;
            }
        }
        if self.modules.contains(&inner) { self.descend(inner, rest, depth) } else { None }
    }

    /// Follows a name that a `use` brings into a module.
    fn imported(&self, module: &[String], name: &str, rest: &[String], depth: usize) -> Option<Target> {
        let here = self.imports.get(module)?.iter();
        here.filter(|import| import.name == name || import.name == "*").find_map(|import| {
            let target = self.resolve(module, &import.path, depth)?;
            let Target::Module(at) = target else { return Some(target) };
            let rest = if import.name == "*" { [&[name.to_owned()], rest].concat() } else { rest.to_vec() };
            self.descend(at, &rest, depth.checked_sub(1)?)
        })
    }
}

/// Where a path begins that does not begin with a name in scope.
fn start<'a>(from: &[String], path: &'a [String]) -> Option<(Module, &'a [String])> {
    let (first, rest) = path.split_first()?;
    let mut module = match first.as_str() {
        "crate" | "countersign" => return Some((vec![], rest)),
        "self" => from.to_vec(),
        "super" => parent_of(from),
        _ => return None,
    };
    let ups = rest.iter().take_while(|segment| *segment == "super").count();
    (0..ups).for_each(|_| module = parent_of(&module));
    Some((module, &rest[ups..]))
}

fn parent_of(module: &[String]) -> Module {
    module.split_last().map(|(_, parent)| parent.to_vec()).unwrap_or_default()
}

fn child_of(module: &[String], name: &str) -> Module {
    [module, &[name.to_owned()]].concat()
}

/// The top-level module; that of `lib.rs` is `lib`.
pub fn top(module: &[String]) -> &str {
    module.first().map_or("lib", String::as_str)
}

/// The groups of two nodes or more that reach each other.
fn cycles(edges: &BTreeSet<(usize, usize)>) -> Vec<Vec<usize>> {
    let reached = |from: usize| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(at) = open.pop() {
            let next = edges.iter().filter(|(from, _)| *from == at).map(|(_, to)| *to);
            open.extend(next.filter(|to| seen.insert(*to)));
        }
        seen
    };
    let nodes: BTreeSet<usize> = edges.iter().map(|(from, _)| *from).collect();
    let reach: BTreeMap<usize, BTreeSet<usize>> = nodes.iter().map(|&node| (node, reached(node))).collect();
    let both = |a: usize, b: usize| reach[&a].contains(&b) && reach.get(&b).is_some_and(|r| r.contains(&a));
    let groups: BTreeSet<Vec<usize>> =
        nodes.iter().map(|&a| nodes.iter().copied().filter(|&b| both(a, b)).collect()).collect();
    groups.into_iter().filter(|group: &Vec<usize>| group.len() > 1).collect()
}

/// Reads the rows `| 4 | [`edge`] | … |` of the table in the header of `lib.rs`.
pub fn layers(lib: &str) -> BTreeMap<String, Place> {
    let mut table = BTreeMap::new();
    for (row, line) in lib.lines().enumerate() {
        let Some(cells) = line.strip_prefix("//! |") else { continue };
        let mut cells = cells.split('|').map(str::trim);
        let (Some(Ok(layer)), Some(modules)) = (cells.next().map(str::parse), cells.next()) else { continue };
        for name in modules.split('`').skip(1).step_by(2) {
            let name = name.trim_end_matches(".rs").trim_end_matches('/');
            table.insert(name.to_owned(), Place { layer, row });
        }
    }
    table
}
