//! What a cluster or a file could hold to hurt whoever reads it: each is bounded, and refused or left out with words.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use portcullis_kubernetes::backup::bounds::{MOST_DEPTH, MOST_OBJECT, MOST_VALUES};
use portcullis_kubernetes::backup::leave::Why;
use portcullis_kubernetes::backup::wire::{Answer, Ask, NoAnswer, Wire};
use portcullis_kubernetes::backup::{Wanted, diff::diff, export, yaml_read::read, yaml_write::yaml};
use proptest::prelude::*;
use serde_json::{Value as Json, json};

fn refused(text: &str) -> String {
    let begin = Instant::now();
    let why = read(text).unwrap_err().to_string();
    assert!(begin.elapsed() < Duration::from_secs(20), "refused in bounded time");
    assert!(why.len() < 400 && !why.chars().any(char::is_control), "a refusal is one short line: {why:?}");
    why
}

#[test]
fn an_alias_bomb_is_refused_at_its_first_anchor() {
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for n in 1..40 {
        let before = format!("*a{}", n - 1);
        writeln!(bomb, "a{n}: &a{n} [{}]", [before.as_str(); 9].join(", ")).unwrap();
    }
    assert_eq!(refused(&bomb), "line 1: anchors are not read: write the value out");
    assert!(refused("a: *nobody\n").contains("line 1"));
}

#[test]
fn an_object_of_ten_megabytes_is_refused_before_it_is_read() {
    let text = format!("kind: ConfigMap\ndata:\n  a: {}\n", "x".repeat(10 << 20));
    assert!(refused(&text).contains(&format!("an object has at most {MOST_OBJECT}")));
}

#[test]
fn deep_nesting_is_refused_in_block_and_flow_style() {
    for deep in [MOST_DEPTH + 1, 5_000, 200_000] {
        let flow = format!("a: {}{}\n", "[".repeat(deep), "]".repeat(deep));
        refused(&flow);
        let maps = format!("a: {}", "{a: ".repeat(deep));
        refused(&maps);
    }
    let block = (0..500).map(|n| format!("{:1$}a:", "", n)).collect::<Vec<_>>().join("\n");
    assert!(refused(&block).contains("nested more than"), "{}", refused(&block));
    let lists = format!("{}x\n", "- ".repeat(1_000));
    assert!(refused(&lists).contains("nested more than"));
}

#[test]
fn many_values_and_many_documents_are_counted() {
    let wide = format!("a: [{}0]\n", "0,".repeat(MOST_VALUES));
    assert!(refused(&wide).contains("values"));
    let documents = "---\na: 1\n".repeat(100_001);
    assert!(refused(&documents).contains("documents"));
}

#[test]
fn control_characters_are_refused_and_written_ones_come_back() {
    for c in ['\u{0}', '\u{7}', '\u{1b}', '\u{7f}', '\u{85}', '\u{9b}'] {
        assert!(refused(&format!("a: x{c}y\n")).contains("control character"), "{c:?}");
    }
    let object = json!({ "data": { "all": (0..0x300_u32).filter_map(char::from_u32).collect::<String>(),
        "lines": "\u{2028}\u{2029}\u{feff}\u{202e}\r\n\t x", "ends": "a \n b\n\n" } });
    let text = yaml(&object);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text}");
    assert_eq!(read(&text).unwrap(), [object]);
}

#[test]
fn broken_yaml_is_refused_with_its_line_and_never_panics() {
    for text in [
        "a: [",
        "a: 'x",
        "a:\n\t- b",
        "%YAML 9\n---\na",
        "- a\nb: c",
        "? [a]\n: b",
        "a: b: c",
        "\u{feff}a: 1\n: :",
        "!!x y",
        "}{",
        "a: |5\n x",
    ] {
        if let Err(error) = read(text) {
            assert!(error.to_string().starts_with("line "), "{error}");
        }
    }
    // Cut anywhere, an honest manifest is read or refused.
    let whole = yaml(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "x" },
        "data": { "a": "l\nm\n", "b": "\u{1b}ü", "c": "yes" } }));
    for at in (0..whole.len()).filter(|at| whole.is_char_boundary(*at)) {
        drop(read(&whole[..at]));
        drop(read(&whole[at..]));
    }
}

/// Any value, its texts of every character there is and of what YAML looks at.
fn any_value() -> impl Strategy<Value = Json> {
    let text = prop_oneof![
        "\\PC{0,12}",
        any::<String>(),
        "[-?:,\\[\\]{}#&*!|>'\"%@` \n\t~0-9a-z.]{0,12}",
        prop::sample::select(vec![
            "yes",
            "Null",
            "0x1f",
            "1e3",
            "<<",
            "---",
            "a\n---\nb",
            " a\nb",
            "a\n b\n\n",
            "1_0",
            "012"
        ])
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        prop::num::f64::NORMAL.prop_map(Json::from),
        text.clone().prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::btree_map(text.clone(), inner, 0..6).prop_map(Json::from_iter),
        ]
    })
}

proptest! {
    #[test]
    fn whatever_is_written_reads_back_alike(value in any_value()) {
        let object = json!({ "spec": value });
        prop_assert_eq!(read(&yaml(&object)).map_err(|error| error.to_string()), Ok(vec![object]));
    }

    #[test]
    fn whatever_is_read_is_read_or_refused(text in any::<String>(), odd in "[-?:,\\[\\]{}#&*!|>'\"%@` \n\ta0]{0,60}") {
        for text in [text, odd] {
            if let Ok(objects) = read(&text) {
                // And what was read is written so that it reads back.
                for object in objects {
                    prop_assert_eq!(read(&yaml(&object)).map_err(|error| error.to_string()), Ok(vec![object]));
                }
            }
        }
    }
}

/// A cluster of one kind whose list is given as text.
struct Hostile {
    pages: Vec<String>,
    /// By page size: a page of so many objects is too large.
    too_large_above: usize,
}

#[async_trait]
impl Wire for Hostile {
    async fn ask(&self, ask: Ask) -> Result<Answer, NoAnswer> {
        let answer = |text: String| Ok(Answer { status: 200, body: text.into_bytes() });
        let (path, query) = ask.path.split_once('?').unwrap_or((&ask.path, ""));
        if path == "/api" || path == "/apis" {
            let resources = json!([{ "resource": "widgets", "responseKind": { "kind": "Widget" }, "scope": "Namespaced",
                "verbs": ["create", "list", "patch"] }, { "resource": "../../x", "responseKind": { "kind": "X" },
                "scope": "Namespaced", "verbs": ["create", "list", "patch"] }]);
            let name = if path == "/api" { "" } else { "x.dev" };
            let list = json!({ "kind": "APIGroupDiscoveryList", "items": [{ "metadata": { "name": name },
                "versions": [{ "version": "v1", "resources": if name.is_empty() { json!([]) } else { resources } }] }] });
            return answer(list.to_string());
        }
        assert_eq!(path, "/apis/x.dev/v1/namespaces/shop/widgets");
        let number = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.parse::<usize>().ok());
        let limit = number("limit=").unwrap_or(usize::MAX);
        if limit > self.too_large_above {
            return Err(NoAnswer::TooLarge(ask.most));
        }
        let from = number("continue=").unwrap_or(0);
        let to = self.pages.len().min(from.saturating_add(limit));
        let next = if to < self.pages.len() { to.to_string() } else { String::new() };
        answer(format!(
            r#"{{"metadata":{{"resourceVersion":"7","continue":"{next}"}},"items":[{}]}}"#,
            self.pages[from..to].join(",")
        ))
    }
}

fn widget(name: &str, spec: &str) -> String {
    format!(r#"{{"metadata":{{"name":{}}},"spec":{spec}}}"#, Json::from(name))
}

#[tokio::test]
async fn a_hostile_object_in_a_list_is_left_out_by_name_and_the_rest_is_kept() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let large = format!("\"{}\"", "x".repeat(10 << 20));
    let many = format!("[{}0]", "0,".repeat(MOST_VALUES));
    let pages = vec![
        widget("a-fine", "{}"),
        widget("b-deep", &deep),
        widget("c-large", &large),
        widget("d-wide", &many),
        widget("e-\u{1b}[2J", "{\"a\":\"\u{202e}\"}"),
        r#"{"spec":{}}"#.to_owned(),
    ];
    let wire: Arc<dyn Wire> = Arc::new(Hostile { pages, too_large_above: usize::MAX });
    let export = export(&wire, "shop", Wanted::default()).await.unwrap();
    let names: Vec<&str> =
        export.objects["Widget.x.dev"].iter().map(|w| w["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a-fine", "e-\u{1b}[2J"]);
    let left: Vec<String> = export
        .about
        .left_out
        .iter()
        .map(|left| format!("{} {}", left.name.as_deref().unwrap_or("all"), matches!(left.why, Why::TooMuch { .. })))
        .collect();
    assert_eq!(left, ["? true", "b-deep true", "c-large true", "d-wide true"]);
    for manifest in export.manifests() {
        assert!(manifest.yaml.chars().all(|c| c == '\n' || !c.is_control()), "no control character in a file");
        assert!(read(&manifest.yaml).is_ok());
    }
}

#[tokio::test]
async fn a_page_that_is_too_large_is_asked_for_in_smaller_ones() {
    let pages: Vec<String> = (0..1_000).map(|n| widget(&format!("w-{n:04}"), "{}")).collect();
    let wire: Arc<dyn Wire> = Arc::new(Hostile { pages: pages.clone(), too_large_above: 10 });
    assert_eq!(export(&wire, "shop", Wanted::default()).await.unwrap().count(), 1_000);
    let wire: Arc<dyn Wire> = Arc::new(Hostile { pages, too_large_above: 0 });
    let export = export(&wire, "shop", Wanted::default()).await.unwrap();
    assert!(export.about.has_losses() && export.count() == 0, "said, not lost");
}

#[test]
fn what_is_shown_of_a_hostile_object_can_not_move_the_cursor() {
    let object = |value: &str| json!({ "kind": "ConfigMap", "metadata": { "name": "x", "labels": { "a\u{1b}]0;b": value } }, "data": { "k\n+ spec.replicas": value } });
    for difference in diff(&object("\u{1b}[31mred\u{202e}"), &object("\nnew line\r")) {
        let text = difference.to_string();
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}
