//! The source tree as the rules read it: each file as it stands, and as the code that ships.

use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

const TEST_ONLY: &str = "#[cfg(test)]";

/// A Rust file.
pub struct Source {
    /// Relative to the crate, with `/`.
    pub path: String,
    pub text: String,
    /// The text with comments and literals blanked, so that a word in it is code. Line for line the same.
    pub code: String,
    /// As `code`, and what exists for tests only is blanked too.
    pub shipped: String,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = without_comments_and_literals(text);
        let mut shipped = code.clone().into_bytes();
        for item in test_items(&code) {
            blank(&mut shipped, item);
        }
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            shipped: String::from_utf8_lossy(&shipped).into_owned(),
            code,
        }
    }

    /// Returns where the modules that this file declares are: `src/a/mod.rs` and `src/lib.rs` keep them beside, `src/a.rs` in `src/a`.
    fn children(&self) -> PathBuf {
        let path = Path::new(&self.path);
        let folder = path.parent().unwrap_or(Path::new(""));
        match path.file_stem().and_then(|stem| stem.to_str()) {
            Some("mod" | "lib" | "main") | None => folder.to_owned(),
            Some(stem) => folder.join(stem),
        }
    }

    /// Returns the modules that are declared here, in files of their own, for tests only.
    fn test_modules(&self) -> impl Iterator<Item = PathBuf> + '_ {
        test_items(&self.code).into_iter().filter_map(|item| {
            let (_, name) = self.code[item].strip_suffix(';')?.rsplit_once("mod ")?;
            Some(self.children().join(name.trim()))
        })
    }
}

/// Returns every Rust file under the folder of the crate; nothing of the modules that exist for tests only is `shipped`.
pub fn rust_files(folder: &str) -> Vec<Source> {
    let mut sources: Vec<Source> = text_files(folder)
        .iter()
        .filter(|(path, _)| Path::new(path).extension().is_some_and(|end| end == "rs"))
        .map(|(path, text)| Source::new(path, text))
        .collect();
    let tests: BTreeSet<PathBuf> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        // `src/a/tests.rs`, `src/a/tests/mod.rs` and `src/a/tests/b.rs` all are the module `src/a/tests` or in it.
        if Path::new(&source.path).with_extension("").ancestors().any(|module| tests.contains(module)) {
            let mut shipped = std::mem::take(&mut source.shipped).into_bytes();
            let all = 0..shipped.len();
            blank(&mut shipped, all);
            source.shipped = String::from_utf8_lossy(&shipped).into_owned();
        }
    }
    sources
}

/// Returns path and content of every text file under a folder of the crate (`.` for all), less what is built and what Git keeps.
pub fn text_files(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.ends_with("target") || path.ends_with(".git") {
                continue;
            }
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().trim_start_matches("./").to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push((name, text));
            }
        }
    }
    found.sort();
    found
}

/// Returns the number, from 1, of the line in which the byte at `offset` stands.
pub fn line_of(text: &str, offset: usize) -> usize {
    1 + text[..offset].matches('\n').count()
}

/// Returns where `word` stands by itself, not inside a longer name.
pub fn find_word(code: &str, word: &str) -> Vec<usize> {
    let named = |byte: Option<&u8>| byte.is_some_and(|byte| is_name(*byte));
    let ends_in_name = named(word.as_bytes().last());
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(|at| {
            !(word.starts_with(|c: char| c.is_alphanumeric())
                && *at > 0
                && named(code.as_bytes().get(at - 1)))
        })
        .filter(|at| !(ends_in_name && named(code.as_bytes().get(at + word.len()))))
        .collect()
}

pub const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn blank(bytes: &mut [u8], range: Range<usize>) {
    for byte in &mut bytes[range] {
        if *byte != b'\n' {
            *byte = b' ';
        }
    }
}

fn without_comments_and_literals(text: &str) -> String {
    let mut bytes = text.as_bytes().to_vec();
    let mut at = 0;
    while at < text.len() {
        let inside_name = at > 0 && is_name(text.as_bytes()[at - 1]);
        let length = opaque_length(&text[at..], inside_name);
        blank(&mut bytes, at..at + length);
        at += length.max(text[at..].chars().next().map_or(1, char::len_utf8));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the length of the comment or literal that begins here, 0 if none does.
fn opaque_length(rest: &str, inside_name: bool) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return upto(rest, "*/");
    }
    if rest.starts_with('"') {
        return quoted_length(rest, '"');
    }
    if let Some(opening) = raw_string_opening(rest).filter(|_| !inside_name) {
        let closing: String = opening.chars().rev().take_while(|c| "\"#".contains(*c)).collect();
        return opening.len() + upto(&rest[opening.len()..], &closing);
    }
    // Else it is a lifetime.
    let mut two = rest.strip_prefix('\'').into_iter().flat_map(str::chars);
    match (two.next(), two.next()) {
        (Some('\\'), _) | (Some(_), Some('\'')) => quoted_length(rest, '\''),
        _ => 0,
    }
}

/// Returns the length of the text to the end of the first `closing`, of all of it if there is none.
fn upto(text: &str, closing: &str) -> usize {
    text.find(closing).map_or(text.len(), |at| at + closing.len())
}

fn quoted_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Returns such as `r"`, `br##"`.
fn raw_string_opening(rest: &str) -> Option<&str> {
    let after = ["r", "br", "cr"].into_iter().find_map(|prefix| rest.strip_prefix(prefix))?;
    let after = after.trim_start_matches('#').strip_prefix('"')?;
    Some(&rest[..rest.len() - after.len()])
}

/// Returns the items under `#[cfg(test)]`, attribute included: up to the `;` or the `}` that ends each.
fn test_items(code: &str) -> Vec<Range<usize>> {
    let end_of = |start: usize| {
        let mut depth = 0_usize;
        for (at, byte) in code.bytes().enumerate().skip(start + TEST_ONLY.len()) {
            match byte {
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' => depth = depth.saturating_sub(1),
                b'}' if depth <= 1 => return at + 1,
                b'}' => depth -= 1,
                b';' | b',' if depth == 0 => return at + 1,
                _ => {}
            }
        }
        code.len()
    };
    code.match_indices(TEST_ONLY).map(|(start, _)| start..end_of(start)).collect()
}

#[test]
fn comments_and_literals_are_no_code() {
    for (text, code) in [
        ("a // b\nc", "a     \nc"),
        ("a /* b\n */ c", "a     \n    c"),
        (r#"f("b\" c", d)"#, "f(       , d)"),
        (r##"f(r#"b " c"#, d)"##, "f(          , d)"),
        (r#"f(br"b\", d)"#, "f(      , d)"),
        ("f('\"', '\\'', 'ä', d)", "f(   ,     ,     , d)"),
        ("fn f<'a>(b: &'a str)", "fn f<'a>(b: &'a str)"),
        ("http://b", "http:   "),
    ] {
        assert_eq!(without_comments_and_literals(text), code, "of {text}");
    }
}

#[test]
fn what_is_for_tests_only_does_not_ship() {
    for (text, shipped) in [
        ("a();\n#[cfg(test)]\nmod tests {\n    fn b() { c() }\n}\nd();", "a(); d();"),
        ("#[cfg(test)]\npub(crate) mod tests;\na();", "a();"),
        ("#[cfg(test)]\n#[allow(x)]\nfn b() -> [u8; 2] { c() }\na();", "a();"),
        ("struct A { #[cfg(test)] b: C, d: E }", "struct A { d: E }"),
        ("#[cfg(not(test))]\nfn a() {}", "#[cfg(not(test))] fn a() {}"),
    ] {
        let source = Source::new("src/a/b.rs", text);
        assert_eq!(source.shipped.split_whitespace().collect::<Vec<_>>().join(" "), shipped, "of {text}");
        assert_eq!(source.shipped.lines().count(), text.lines().count());
    }
}

#[test]
fn a_test_module_is_found_beside_or_under_its_parent() {
    for (path, module) in
        [("src/a/mod.rs", "src/a/tests"), ("src/a/b.rs", "src/a/b/tests"), ("src/lib.rs", "src/tests")]
    {
        let modules: Vec<PathBuf> =
            Source::new(path, "#[cfg(test)]\nmod tests;\nmod other;").test_modules().collect();
        assert_eq!(modules, [PathBuf::from(module)]);
    }
}

#[test]
fn a_word_is_not_found_inside_a_longer_one() {
    assert_eq!(find_word("gix gix_x my_gix gix::a", "gix"), [0, 17]);
    assert_eq!(find_word("a.unwrap() b.unwrap_or()", ".unwrap()"), [1]);
}
