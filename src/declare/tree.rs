//! YAML text → a tree whose every key and value knows its place. Bounded in depth, in values and in text, aliases expanded.

use std::collections::{BTreeMap, BTreeSet};

use serde_yaml::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag, options};

use super::diagnostic::{Code, Diagnostic, Findings, Place};

/// Collections within each other, at most.
pub(super) const DEPTH: usize = 32;
/// Keys and values in the whole file with its aliases expanded, at most.
pub(super) const NODES: usize = 3_000;
/// Bytes of text in the whole file with its aliases expanded, at most.
pub(super) const TEXT: usize = 512 * 1024;

/// How a text was written, which decides what it may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Quoted,
    /// A block scalar, `>` or `|`.
    Block,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Text(String, Style),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: Place,
    pub(super) value: Value,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) at: Place,
    pub(super) node: Node,
}

impl Node {
    /// Tells whether this is YAML's null: nothing, `~` or `null` without quotes.
    pub(super) fn is_null(&self) -> bool {
        match &self.value {
            Value::Text(text, Style::Plain) => matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"),
            _ => false,
        }
    }

    /// Returns the entries of a map; none of anything else.
    pub(super) fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// Returns the entry of a map.
    pub(super) fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }

    fn children(&self) -> Vec<&Self> {
        match &self.value {
            Value::Text(..) => Vec::new(),
            Value::List(items) => items.iter().collect(),
            Value::Map(entries) => entries.iter().map(|entry| &entry.node).collect(),
        }
    }

    /// How many collections lie within each other, values, and bytes of text. The depth of a built tree is bounded, so is this.
    fn size(&self) -> (usize, usize, usize) {
        let own = match &self.value {
            Value::Text(text, _) => (0, 1, text.len()),
            Value::List(_) => (1, 1, 0),
            Value::Map(entries) => (1, 1, entries.iter().map(|entry| entry.key.len()).sum()),
        };
        let mut deepest = 0;
        let mut sum = (own.1, own.2);
        for child in self.children() {
            let (depth, nodes, text) = child.size();
            deepest = deepest.max(depth);
            sum = (sum.0 + nodes, sum.1 + text);
        }
        (own.0 + deepest, sum.0, sum.1)
    }
}

/// Why no tree came of a text.
pub(super) enum Stop {
    /// Not YAML.
    Scan(ScanError),
    /// A rule of ours; already said.
    Said(Box<Diagnostic>),
}

impl From<Diagnostic> for Stop {
    fn from(said: Diagnostic) -> Self {
        Self::Said(Box::new(said))
    }
}

/// Reads the one document of a text. Faults that do not stop the reading (a key twice) are added to `findings`.
/// `None`: there is no document, or nothing in it.
pub(super) fn read(text: &str, findings: &Findings) -> Result<Option<Node>, Stop> {
    let options =
        options! { emit_comments: false, flow_nesting_limit: DEPTH + 4, block_nesting_limit: DEPTH + 4 };
    let mut builder =
        Builder { findings, stack: Vec::new(), anchors: BTreeMap::new(), root: None, nodes: 0, text: 0 };
    let mut documents = 0;
    let parser: Parser<'_, StrInput<'_>> = Parser::new_from_str_with_options(text, options);
    for event in parser {
        let (event, span) = event.map_err(Stop::Scan)?;
        if let Event::DocumentStart(..) = event {
            documents += 1;
            if documents > 1 {
                let what = "a second document begins here";
                let said = Diagnostic::error(Code::Documents, place(&span), what)
                    .why("one file declares one service")
                    .fix("remove it, or give it a folder and a .idp/deploy.yaml of its own");
                findings.add(said);
                break;
            }
        }
        builder.take(event, &span)?;
    }
    Ok(builder.root.filter(|root| !root.is_null()))
}

/// Turns a span into a place; what goes on in further lines is marked on its first line only.
pub(super) fn place(span: &Span) -> Place {
    let (start, end) = (span.start, span.end);
    let length = if start.line() == end.line() { end.col().saturating_sub(start.col()) } else { 1 };
    Place { line: start.line().max(1), column: start.col() + 1, length: length.max(1) }
}

/// A collection that is being read.
enum Open {
    List {
        at: Place,
        anchor: usize,
        items: Vec<Node>,
    },
    Map {
        at: Place,
        anchor: usize,
        entries: Vec<Entry>,
        seen: BTreeMap<String, usize>,
        key: Option<(String, Place)>,
        merges: Vec<Node>,
    },
}

struct Builder<'a> {
    findings: &'a Findings,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
    text: usize,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Stop> {
        let at = place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted_by_tag = check_tag(tag.as_deref(), at)?;
                let style = match style {
                    ScalarStyle::Plain if !quoted_by_tag => Style::Plain,
                    ScalarStyle::Literal | ScalarStyle::Folded => Style::Block,
                    _ => Style::Quoted,
                };
                let node = Node { at, value: Value::Text(text.into_owned(), style) };
                self.keep(anchor, &node)?;
                self.add(node)
            }
            Event::SequenceStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), at)?;
                self.open(Open::List { at, anchor, items: Vec::new() }, at)
            }
            Event::MappingStart(_, anchor, tag) => {
                check_tag(tag.as_deref(), at)?;
                self.open(
                    Open::Map {
                        at,
                        anchor,
                        entries: Vec::new(),
                        seen: BTreeMap::new(),
                        key: None,
                        merges: Vec::new(),
                    },
                    at,
                )
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(id) => {
                let node = self.anchors.get(&id).cloned().ok_or_else(|| {
                    Diagnostic::error(Code::Yaml, at, "this alias stands inside the value that it repeats")
                        .fix("write the value out")
                })?;
                let (depth, nodes, text) = node.size();
                self.spend(at, depth, nodes, text)?;
                self.add(Node { at, ..node })
            }
            _ => Ok(()),
        }
    }

    /// Counts what was read against the bounds.
    fn spend(&mut self, at: Place, depth: usize, nodes: usize, text: usize) -> Result<(), Stop> {
        self.nodes += nodes;
        self.text += text;
        if self.stack.len() + depth > DEPTH {
            return Err(too_deep(at).into());
        }
        if self.nodes > NODES || self.text > TEXT {
            let what = format!(
                "with its aliases written out, the file has more than {NODES} keys and values or {TEXT} bytes"
            );
            let fix = "use fewer aliases, or put large contents into the image";
            return Err(Diagnostic::error(Code::Budget, at, what).fix(fix).into());
        }
        Ok(())
    }

    fn open(&mut self, open: Open, at: Place) -> Result<(), Stop> {
        if let Some(Open::Map { key: None, .. }) = self.stack.last() {
            return Err(odd_key(at).into());
        }
        self.spend(at, 1, 1, 0)?;
        self.stack.push(open);
        Ok(())
    }

    fn close(&mut self) -> Result<(), Stop> {
        let (node, anchor) = match self.stack.pop() {
            Some(Open::List { at, anchor, items }) => (Node { at, value: Value::List(items) }, anchor),
            Some(Open::Map { at, anchor, entries, merges, .. }) => {
                (Node { at, value: Value::Map(merged(entries, &merges)) }, anchor)
            }
            None => return Ok(()),
        };
        self.keep(anchor, &node)?;
        self.add(node)
    }

    /// Keeps a value for its aliases. The copy counts too: without that, anchors within anchors would cost depth times size.
    fn keep(&mut self, anchor: usize, node: &Node) -> Result<(), Stop> {
        if anchor == 0 {
            return Ok(());
        }
        let (_, nodes, text) = node.size();
        self.spend(node.at, 0, nodes, text)?;
        self.anchors.insert(anchor, node.clone());
        Ok(())
    }

    fn add(&mut self, node: Node) -> Result<(), Stop> {
        if let Value::Text(text, _) = &node.value {
            self.spend(node.at, 0, 1, text.len())?;
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, seen, key, merges, .. }) => match key.take() {
                None => match node.value {
                    Value::Text(text, _) => *key = Some((text, node.at)),
                    _ => return Err(odd_key(node.at).into()),
                },
                Some((key, _)) if key == "<<" => merges.push(node),
                Some((key, at)) => {
                    if let Some(first) = seen.get(&key) {
                        self.findings.add(duplicate(&key, at, *first));
                    } else {
                        seen.insert(key.clone(), at.line);
                        entries.push(Entry { key, at, node });
                    }
                }
            },
        }
        Ok(())
    }
}

/// Adds the entries of `<<: *anchor` that the map does not have itself.
fn merged(mut entries: Vec<Entry>, merges: &[Node]) -> Vec<Entry> {
    if merges.is_empty() {
        return entries;
    }
    let mut own: BTreeSet<String> = entries.iter().map(|entry| entry.key.clone()).collect();
    for merge in merges {
        let sources: Vec<&Node> = match &merge.value {
            Value::List(items) => items.iter().collect(),
            _ => vec![merge],
        };
        for entry in sources.into_iter().flat_map(Node::entries) {
            if own.insert(entry.key.clone()) {
                entries.push(entry.clone());
            }
        }
    }
    entries
}

fn duplicate(key: &str, at: Place, first: usize) -> Diagnostic {
    let key: String = key.chars().take(60).collect();
    Diagnostic::error(Code::DuplicateKey, at, format!("the key `{key}` stands here a second time"))
        .why(format!("it stands in line {first} already, and one of the two would be ignored"))
        .fix(format!("keep one of lines {first} and {}", at.line))
}

fn odd_key(at: Place) -> Diagnostic {
    Diagnostic::error(Code::Yaml, at, "a key must be a text")
        .why("a `{` or `[` where a key is wanted is most often a template without quotes")
        .fix("put the whole value into quotes, as in \"{{env}}\"")
}

/// Says that there are too many collections within each other.
pub(super) fn too_deep(at: Place) -> Diagnostic {
    Diagnostic::error(Code::Depth, at, format!("values are nested more than {DEPTH} deep"))
        .why("no declaration needs that, and reading it could be made to cost any amount of memory")
        .fix("take the nesting out")
}

/// Tells whether a tag says "this is a text"; any other tag is refused.
fn check_tag(tag: Option<&Tag>, at: Place) -> Result<bool, Stop> {
    match tag {
        None => Ok(false),
        Some(tag) if tag.is_yaml_core_schema_tag("str") => Ok(true),
        Some(tag) => {
            let what = format!("the YAML tag `{}` is not allowed here", tag.original());
            Err(Diagnostic::error(Code::Yaml, at, what).fix("remove the tag; put texts into quotes").into())
        }
    }
}
