//! Reading: text, images, PDF files, notebooks, and everything that is none of these.
#![allow(clippy::unwrap_used, clippy::type_complexity)]

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lopdf::{Document, Object, dictionary};
use serde_json::{Value, json};

use crate::fixture::{Fixture, text};

async fn read(fixture: &Fixture, name: &str) -> agent_tools::Outcome {
    fixture.call("Read", json!({"file_path": name})).await
}

#[tokio::test]
async fn text_is_numbered_and_told_in_full_to_the_host() {
    let fixture = Fixture::new();
    let path = fixture.write("a.txt", "one\ntwo\nthree\n");
    let outcome = fixture
        .call("Read", json!({"file_path": path, "offset": 2, "limit": 1}))
        .await;
    assert_eq!(
        text(&outcome),
        "2\ttwo\n(The file has 3 lines; read on with offset 3)"
    );
    assert_eq!(
        outcome.result,
        json!({"type": "text", "file": {
            "filePath": path, "content": "two", "numLines": 1, "startLine": 2, "totalLines": 3,
        }})
    );
    assert_eq!(text(&read(&fixture, "a.txt").await), "1\tone\n2\ttwo\n3\tthree");
    fixture.write("empty", "");
    assert_eq!(text(&read(&fixture, "empty").await), "(The file is empty)");
}

#[tokio::test]
async fn two_thousand_lines_are_shown_by_default_and_a_large_file_asks_for_a_part() {
    let fixture = Fixture::new();
    fixture.write("long", "x\n".repeat(3000));
    let outcome = read(&fixture, "long").await;
    assert!(
        text(&outcome).ends_with("2000\tx\n(The file has 3000 lines; read on with offset 2001)"),
        "{}",
        text(&outcome).len()
    );
    fixture.write("large", "0123456789abcde\n".repeat(40_000));
    let outcome = read(&fixture, "large").await;
    assert!(
        outcome.is_error && text(&outcome).contains("Use offset and limit"),
        "{outcome:?}"
    );
    let outcome = fixture
        .call("Read", json!({"file_path": "large", "offset": 39_999}))
        .await;
    assert_eq!(text(&outcome), "39999\t0123456789abcde\n40000\t0123456789abcde");
    let outcome = fixture
        .call("Read", json!({"file_path": "large", "limit": 40_000}))
        .await;
    assert!(
        outcome.is_error && text(&outcome).contains("Use offset and limit"),
        "{}",
        text(&outcome).len()
    );
    let outcome = fixture
        .call(
            "Read",
            json!({"file_path": "large", "limit": 40_000, "allow_large": true}),
        )
        .await;
    assert!(!outcome.is_error);
}

#[tokio::test]
async fn hostile_files_are_answered_within_bounds() {
    let fixture = Fixture::new();
    let mut line = vec![b'x'; 30_000_000];
    line.extend_from_slice(b"\nlast\n");
    fixture.write("one-line", &line);
    fixture.write("nul", b"ab\0cd");
    fixture.write("latin", b"caf\xe9\n");
    fixture.write("late-nul", [vec![b'a'; 10_000], vec![0; 10]].concat());
    fixture.write(".ipynb", "not a notebook's name");
    fixture.bash("ln -s loop loop; mkfifo fifo; mkdir dir; ln -s /nowhere dangling; touch $'we\\nird'; chmod 0 nul").await;
    for (name, part, is_error) in [
        ("one-line", "Use offset and limit", true),
        ("latin", "1\tcaf\u{FFFD}", false),
        ("late-nul", "more bytes]", false),
        ("loop", "cannot be read", true),
        ("fifo", "is a named pipe", true),
        ("dir", "is a directory", true),
        ("/dev/zero", "is a device", true),
        ("/dev/tty", "is a device", true),
        ("dangling", "does not exist", true),
        ("latin/x", "does not exist", true),
        ("we\nird", "(The file is empty)", false),
        ("a\0b", "NUL", true),
        ("", "empty", true),
        ("/proc/self/status", "Name:", false),
    ] {
        let outcome = read(&fixture, name).await;
        assert_eq!(outcome.is_error, is_error, "{name}: {outcome:?}");
        assert!(
            text(&outcome).contains(part),
            "{name}: {}",
            &text(&outcome)[..300.min(text(&outcome).len())]
        );
    }
    let outcome = fixture
        .call("Read", json!({"file_path": "one-line", "offset": 1, "limit": 5}))
        .await;
    assert!(
        text(&outcome).len() < 3000 && text(&outcome).ends_with("29998000 more bytes]\n2\tlast"),
        "{}",
        text(&outcome).len()
    );
    fixture.bash("chmod 600 nul").await;
    assert!(text(&read(&fixture, "nul").await).contains("is a binary file (5 bytes)"));
    fixture.end().await;
}

#[tokio::test]
async fn a_missing_file_is_told_with_what_may_have_been_meant() {
    let fixture = Fixture::new();
    fixture.write("src/settings.rs", "x");
    fixture.write("src/other.ts", "x");
    for (name, meant) in [
        ("src/setings.rs", "Did you mean {}/src/settings.rs?"),
        ("src/other.js", "Did you mean {}/src/other.ts?"),
        ("/repo/src/settings.rs", "Did you mean {}/src/settings.rs?"),
        ("no/such/dir/file", "only {} exists"),
    ] {
        let outcome = read(&fixture, name).await;
        let expected = meant.replace("{}", fixture.path().to_str().unwrap());
        assert!(
            outcome.is_error && text(&outcome).contains(&expected),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn images_come_as_they_are_and_broken_ones_are_refused() {
    let fixture = Fixture::new();
    let png = STANDARD.decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==").unwrap();
    fixture.write("dot.txt", &png);
    let outcome = read(&fixture, "dot.txt").await;
    assert_eq!(
        outcome.content,
        [json!({"type": "image", "source": {
            "type": "base64", "media_type": "image/png", "data": STANDARD.encode(&png),
        }})]
    );
    assert_eq!(outcome.result["file"]["originalSize"], json!(png.len()));
    fixture.write("stump.png", &png[..12]);
    let mut wide = png.clone();
    wide[16..20].copy_from_slice(&[0, 0, 0x40, 0]);
    fixture.write("wide.png", &wide);
    let mut large = png;
    large.resize(4_000_000, 0);
    fixture.write("large.png", &large);
    for (name, part) in [
        ("stump.png", "not a valid image"),
        ("wide.png", "16384 by 1"),
        ("large.png", "at most 3932160"),
    ] {
        let outcome = read(&fixture, name).await;
        assert!(outcome.is_error && text(&outcome).contains(part), "{outcome:?}");
    }
}

fn pdf(pages: usize) -> Vec<u8> {
    let mut document = Document::with_version("1.5");
    let tree = document.new_object_id();
    let kids: Vec<Object> = (0..pages)
        .map(|_| document.add_object(dictionary! {"Type" => "Page", "Parent" => tree, "MediaBox" => vec![0.into(), 0.into(), 9.into(), 9.into()]}).into())
        .collect();
    let count = pages as i64;
    document.objects.insert(
        tree,
        Object::Dictionary(dictionary! {"Type" => "Pages", "Kids" => kids, "Count" => count}),
    );
    let catalog = document.add_object(dictionary! {"Type" => "Catalog", "Pages" => tree});
    document.trailer.set("Root", catalog);
    let mut bytes = Vec::new();
    document.save_to(&mut bytes).unwrap();
    bytes
}

#[tokio::test]
async fn a_pdf_comes_whole_or_by_pages() {
    let fixture = Fixture::new();
    fixture.write("short.pdf", pdf(3));
    fixture.write("long.pdf", pdf(60));
    let outcome = read(&fixture, "short.pdf").await;
    assert_eq!(
        outcome.content[1]["source"]["data"],
        json!(STANDARD.encode(pdf(3)))
    );
    assert!(text(&read(&fixture, "long.pdf").await).contains("60 pages"));
    let outcome = fixture
        .call("Read", json!({"file_path": "long.pdf", "pages": "5-8"}))
        .await;
    let shown = STANDARD
        .decode(outcome.content[1]["source"]["data"].as_str().unwrap())
        .unwrap();
    assert_eq!(Document::load_mem(&shown).unwrap().get_pages().len(), 4);
    for (pages, part) in [
        ("61", "beyond its end"),
        ("1-60", "At most 20"),
        ("x", "must be like"),
    ] {
        let outcome = fixture
            .call("Read", json!({"file_path": "long.pdf", "pages": pages}))
            .await;
        assert!(outcome.is_error && text(&outcome).contains(part), "{outcome:?}");
    }
    fixture.write("text", "x");
    assert!(
        text(
            &fixture
                .call("Read", json!({"file_path": "text", "pages": "1"}))
                .await
        )
        .contains("not one")
    );
}

#[tokio::test]
async fn no_broken_pdf_is_more_than_an_error() {
    let fixture = Fixture::new();
    let whole = pdf(2);
    let nested = [
        b"%PDF-1.5\n1 0 obj\n".to_vec(),
        vec![b'['; 300_000],
        b"\nendobj\ntrailer <</Root 1 0 R>>\nstartxref\n9\n%%EOF".to_vec(),
    ]
    .concat();
    fixture.write("nested.pdf", nested);
    assert!(read(&fixture, "nested.pdf").await.is_error);
    let cycle = String::from_utf8_lossy(&whole).replace("/Kids[", "/Kids[1 0 R ");
    fixture.write("cycle.pdf", cycle.as_bytes());
    read(&fixture, "cycle.pdf").await;
    for step in 0..80 {
        let mut mangled = whole.clone();
        let at = 9 + step * (whole.len() - 10) / 80;
        mangled[at] = mangled[at].wrapping_mul(31).wrapping_add(7);
        mangled.truncate(whole.len() - step % 5);
        fixture.write("mangled.pdf", &mangled);
        let outcome = read(&fixture, "mangled.pdf").await;
        assert!(!text(&outcome).contains("abnormally"), "byte {at}: {outcome:?}");
        fixture.write("mangled.pdf", &whole[..at]);
        assert!(
            !text(&read(&fixture, "mangled.pdf").await).contains("abnormally"),
            "cut at {at}"
        );
    }
}

#[tokio::test]
async fn a_notebook_is_shown_by_cells_with_their_outputs() {
    let fixture = Fixture::new();
    let notebook = json!({
        "metadata": {"language_info": {"name": "julia"}},
        "cells": [
            {"cell_type": "markdown", "id": "m", "source": ["# Title\n", "text"]},
            {"cell_type": "code", "source": "plot(1)", "outputs": [
                {"output_type": "stream", "text": ["a\n", "b\n"]},
                {"output_type": "display_data", "data": {"image/png": "iVBO\nRw==", "text/plain": "<Figure>"}},
                {"output_type": "error", "traceback": ["Trace", "Error: no"]},
                {"output_type": "display_data", "data": {"image/png": "not base64!"}},
                {"output_type": "stream", "text": "y".repeat(20_000)},
            ]},
            {"cell_type": 7, "source": null},
            "not a cell",
        ],
    });
    fixture.write("n.ipynb", notebook.to_string());
    let outcome = read(&fixture, "n.ipynb").await;
    let first = text(&outcome);
    assert!(first.starts_with("<cell id=\"m\" type=\"markdown\">\n# Title\ntext\n</cell>\n<cell id=\"cell-1\" type=\"code\" language=\"julia\">\nplot(1)\n</cell>\n<output>\na\nb\n</output>"), "{first}");
    assert_eq!(outcome.content[1]["source"]["data"], json!("iVBORw=="));
    let last = outcome.content[2]["text"].as_str().unwrap();
    assert!(
        last.contains("Trace\nError: no")
            && last.contains("[an image that is not shown]")
            && last.contains("[10000 more bytes]")
    );
    for broken in ["", "{", "[]", "{\"cells\": 3}", &"[".repeat(100_000)] {
        fixture.write("broken.ipynb", broken);
        assert!(
            text(&read(&fixture, "broken.ipynb").await).contains("not a valid notebook"),
            "{broken:.10}"
        );
    }
    fixture.write("empty.ipynb", json!({"cells": []}).to_string());
    assert_eq!(
        text(&read(&fixture, "empty.ipynb").await),
        "(The notebook has no cells)"
    );
    assert_eq!(outcome.result["file"]["cells"].as_array().map(Vec::len), Some(4));
    assert_ne!(outcome.result, Value::Null);
}
