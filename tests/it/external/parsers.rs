//! Real parsers of queries and forms against the guard: what one of them reads as the pair that tells a webhook never passes.
//! A parser that is not installed is skipped. Each test counts the spellings that a parser reads so: too few would show
//! nothing.

use crate::tools::{have, npm, php_server};
use countersign::guard::{Classification, FormKind, Guard, Location, QueryPair};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The pairs that are spelled: with punctuation that PHP and WordPress change, and without.
const PAIRS: [(&str, &str); 2] = [("wc-api", "wc_stripe"), ("my_key", "value")];

fn guard(key: &str, value: &str) -> Guard {
    let query = vec![QueryPair { key: key.to_owned(), value: value.to_owned() }];
    Guard::new([Location { query, ..Location::from("/") }])
}

/// Returns the spellings of a key or a value that up to two changes make. Each change is tried at every place.
fn spellings(text: &str) -> Vec<Vec<u8>> {
    const INSERTED: [&str; 26] = [
        "%00", "\0", "+", "%20", "%09", "%0a", "[", "]", "[]", "[0]", "[x]", ".", "_", "-", "!", "%", "%ff",
        "%c3%a9", "%2541", "<b>", "<", ";", "=", "&", "'", "\\",
    ];
    let once = |base: &[u8]| -> Vec<Vec<u8>> {
        let mut all = vec![base.to_vec(), base.to_ascii_uppercase()];
        for at in 0..=base.len() {
            let (before, after) = base.split_at(at);
            all.extend(INSERTED.iter().map(|inserted| [before, inserted.as_bytes(), after].concat()));
            let Some((&byte, rest)) = after.split_first() else { continue };
            let swapped = [byte ^ 0x20, b'.', b'_', b' ', b'+', b'[', b'-'];
            all.extend(swapped.iter().map(|&other| [before, &[other], rest].concat()));
            all.extend(
                [
                    format!("%{byte:02x}"),
                    format!("%{byte:02X}"),
                    format!("%25{byte:02x}"),
                    format!("%u00{byte:02x}"),
                ]
                .iter()
                .map(|escape| [before, escape.as_bytes(), rest].concat()),
            );
        }
        all
    };
    let mut all = once(text.as_bytes());
    // A second change follows some of the first ones: every pair of changes would take minutes.
    let twice: Vec<Vec<u8>> =
        all.iter().step_by(17).flat_map(|first| once(first).into_iter().step_by(5)).collect();
    all.extend(twice);
    all.retain(|spelling| spelling.iter().all(|byte| !matches!(byte, b' ' | b'\r' | b'\n')));
    all
}

/// Returns queries that spell the pair in many ways, alone, repeated and beside others.
fn queries(key: &str, value: &str) -> Vec<Vec<u8>> {
    let join = |parts: &[&[u8]]| parts.concat();
    let (plain_key, plain_value) = (key.as_bytes(), value.as_bytes());
    let mut all = Vec::new();
    for (at, spelled) in spellings(key).iter().enumerate() {
        let query = join(&[spelled, b"=", plain_value]);
        all.push(match at % 5 {
            0 => join(&[b"a=b&", &query]),
            1 => join(&[b"a=b;", &query, b";c"]),
            2 => join(&[&query, b"&", plain_key, b"=x"]),
            _ => query,
        });
    }
    for (at, spelled) in spellings(value).iter().enumerate() {
        let query = join(&[plain_key, b"=", spelled]);
        all.push(match at % 5 {
            0 => join(&[plain_key, b"=x&", &query]),
            1 => join(&[b"?", &query, b"#x"]),
            _ => query,
        });
    }
    all
}

/// Returns multipart bodies with the boundary `B` that spell the pair in many ways.
fn bodies(key: &str, value: &str) -> Vec<Vec<u8>> {
    let heads = |name: &str| {
        [
            format!("Content-Disposition: form-data; name=\"{name}\""),
            format!("content-disposition:form-data;name={name}"),
            format!("Content-Disposition: form-data; name='{name}'"),
            format!("Content-Disposition: form-data; name=\"{name}\"; filename="),
            format!("Content-Disposition: form-data; filename*=x; name=\"{name}\""),
            format!("Content-Disposition: form-data;\r\n name=\"{name}\""),
            format!("Content-Disposition: form-data; name=\"x\"; name=\"{name}\""),
            format!("Content-Disposition: form-data; name*=utf-8''{name}"),
            format!("Content-Disposition: form-data; name*0=\"{}\"; name*1=\"{}\"", &name[..2], &name[2..]),
            format!("Content-Type: text/plain\r\nContent-Disposition: form-data; name=\"{name}\""),
            format!("CONTENT-DISPOSITION : form-data; NAME = \"{name}\""),
            format!("Content-Disposition: attachment; name=\"{}\\{}\"", &name[..1], &name[1..]),
        ]
    };
    let base64 = if value == "value" { "dmFsdWU=" } else { "d2Nfc3RyaXBl" };
    let mut all = Vec::new();
    for name in [key.to_owned(), key.to_uppercase(), format!("{key}[]"), format!("{key}[x]")] {
        for head in heads(&name) {
            for line_end in ["\r\n", "\n", "\r"] {
                for (coding, value) in [
                    ("", value),
                    ("\r\nContent-Transfer-Encoding: base64", base64),
                    ("\r\nContent-Transfer-Encoding: quoted-printable", value),
                    ("", &format!("{value}\r\n")),
                    ("", &value.to_uppercase()),
                ] {
                    let body = format!("x\r\n--B\r\n{head}{coding}\r\n\r\n{value}\r\n--B--\r\n");
                    all.push(body.replace("\r\n", line_end).into_bytes());
                }
            }
        }
    }
    all
}

/// Has a parser read each text, and returns in which of them it finds the pair.
fn read_by(command: &mut Command, texts: &[Vec<u8>]) -> Vec<bool> {
    let hex = |text: &Vec<u8>| text.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n";
    let input: String = texts.iter().map(hex).collect();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let found: Vec<bool> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| line == "1").collect();
    assert_eq!(found.len(), texts.len(), "{command:?}");
    found
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/parsers").join(name)
}

/// Checks that the guard lets no query pass that the parser reads as the pair, and that it reads `least` of them so.
fn check_queries(least: usize, parser: impl Fn(&str, &str) -> Command) {
    let (mut tried, mut read, mut missed) = (0, 0, Vec::new());
    for (key, value) in PAIRS {
        let guard = guard(key, value);
        let all = queries(key, value);
        let found = read_by(&mut parser(key, value), &all);
        tried += all.len();
        for query in all.iter().zip(found).filter(|(_, found)| *found).map(|(query, _)| query) {
            read += 1;
            let exact = [&b"/?"[..], query].concat();
            let elsewhere = [&b"/shop?"[..], query].concat();
            let form = guard.form(b"/", FormKind::Urlencoded).unwrap();
            let mut form = form.inspector();
            let told_by_form = query.iter().find_map(|byte| form.feed(&[*byte])).or_else(|| form.finish());
            let passes = guard.classify(&exact) == Classification::Other
                || !matches!(guard.classify(&elsewhere), Classification::Ambiguous { .. })
                || told_by_form.is_none();
            if passes {
                missed.push(query.escape_ascii().to_string());
            }
        }
    }
    println!("{tried} spellings tried, {read} read as the pair, {} missed", missed.len());
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(read >= least, "{read} of {tried}");
}

/// Checks that the guard lets no multipart form pass that the parser reads as the pair, and that it reads `least` of them
/// so. `read_all` returns in which forms the parser finds the pair.
fn check_bodies(least: usize, read_all: impl Fn(&str, &str, &[Vec<u8>]) -> Vec<bool>) {
    let (mut tried, mut read, mut missed) = (0, 0, Vec::new());
    for (key, value) in PAIRS {
        let guard = guard(key, value);
        let all = bodies(key, value);
        let found = read_all(key, value, &all);
        tried += all.len();
        for body in all.iter().zip(found).filter(|(_, found)| *found).map(|(body, _)| body) {
            read += 1;
            for size in [1, body.len()] {
                let mut form = guard.form(b"/", FormKind::Multipart).unwrap().inspector();
                if body.chunks(size).find_map(|chunk| form.feed(chunk)).or_else(|| form.finish()).is_none() {
                    missed.push(body.escape_ascii().to_string());
                }
            }
        }
    }
    println!("{tried} forms tried, {read} read as the pair, {} missed", missed.len());
    assert!(missed.is_empty(), "{missed:#?}");
    assert!(read >= least, "{read} of {tried}");
}

fn run(program: &str, name: &str, key: &str, value: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(script(name)).args([key, value]);
    command
}

#[test]
fn no_query_that_php_or_wordpress_reads_as_the_pair_passes() {
    if have("php") {
        check_queries(500, |key, value| run("php", "query.php", key, value));
    }
}

#[test]
fn no_query_that_rack_reads_as_the_pair_passes() {
    if have("ruby") {
        check_queries(100, |key, value| run("ruby", "query.rb", key, value));
    }
}

#[test]
fn no_query_that_node_or_express_reads_as_the_pair_passes() {
    if !have("node") {
        return;
    }
    let qs = npm("qs");
    check_queries(100, |key, value| {
        let mut command = run("node", "query.js", key, value);
        command.args(&qs);
        command
    });
}

#[test]
fn no_query_that_python_or_django_reads_as_the_pair_passes() {
    if have("python3") {
        check_queries(100, |key, value| python("query.py", key, value));
    }
}

#[test]
fn no_form_that_rack_reads_as_the_pair_passes() {
    if have("ruby") {
        check_bodies(20, |key, value, all| read_by(&mut run("ruby", "multipart.rb", key, value), all));
    }
}

#[test]
fn no_form_that_python_or_django_reads_as_the_pair_passes() {
    if have("python3") {
        check_bodies(20, |key, value, all| read_by(&mut python("multipart.py", key, value), all));
    }
}

#[test]
fn no_query_that_go_reads_as_the_pair_passes() {
    if have("go") {
        check_queries(100, |key, value| go("query.go", key, value));
    }
}

#[test]
fn no_form_that_go_reads_as_the_pair_passes() {
    if have("go") {
        check_bodies(20, |key, value, all| read_by(&mut go("multipart.go", key, value), all));
    }
}

#[tokio::test]
async fn no_form_that_php_reads_as_the_pair_passes() {
    if !have("php") {
        return;
    }
    let (_php, port) = php_server(&script(""), "multipart.php").await;
    check_bodies(100, |key, value, all| {
        all.iter().map(|body| posted_to_php(port, key, value, body) == "1").collect()
    });
}

/// Posts a multipart form with the boundary `B` to PHP's server. Returns the body of the response.
fn posted_to_php(port: u16, key: &str, value: &str, body: &[u8]) -> String {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: x\r\nX-Key: {key}\r\nX-Value: {value}\r\nContent-Type: multipart/form-data; \
         boundary=B\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.write_all(&[head.as_bytes(), body].concat()).unwrap();
    let mut response = String::new();
    connection.read_to_string(&mut response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{response}");
    body.to_owned()
}

/// Compiles and runs a program in Go.
fn go(name: &str, key: &str, value: &str) -> Command {
    let mut command = Command::new("go");
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go-cache");
    command.arg("run").arg(script(name)).args([key, value]).env("GOCACHE", cache).env("GO111MODULE", "off");
    command
}

/// Runs a script of Python with the packages that `scripts/setup` installs.
fn python(name: &str, key: &str, value: &str) -> Command {
    let packages = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("python");
    let mut command = run("python3", name, key, value);
    command.env("PYTHONPATH", packages);
    command
}
