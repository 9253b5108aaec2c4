//! The windows of `freeze` and `open`: their text, held against what the domain's calendar can work out.

use portcullis_domain::calendar::Window;

use crate::amounts;
use crate::diagnostic::{Diagnostic, Sink};
use crate::gates::{Asked, Layers, Said};
use crate::nearest::shown;
use crate::node::{Kind, Node, Span};

/// The most windows of one list.
const MOST: usize = 20;
const RECURRING: &str =
    "{ name: weekend, every: \"FREQ=WEEKLY;BYDAY=FR\", starts: 2026-01-02T18:00, for: 60h, zone: Europe/Berlin }";
const ONCE: &str = "{ name: year end, from: 2026-12-20T18:00, until: 2027-01-03T08:00, zone: Europe/Berlin }";

/// The windows of one list.
pub(crate) fn read(layers: &Layers<'_>, key: &str, sink: &mut Sink) -> Vec<Said<Window>> {
    let items = layers.items(&[key]);
    if let (true, Some(entry)) = (items.len() > MOST, layers.find(&[key])) {
        let found = Diagnostic::error(format!("at most {MOST} windows can be given"));
        let found = found.label(layers.file, entry.key_span.clone(), format!("these are {}", items.len()));
        sink.push(found.help("make one recurring window of several"));
    }
    let items = items.iter().take(MOST).filter(|node| matches!(node.kind, Kind::Map(_)));
    items.filter_map(|node| one(layers, node, sink)).collect()
}

fn one(layers: &Layers<'_>, node: &Node<'_>, sink: &mut Sink) -> Option<Said<Window>> {
    let text = |key: &str| node.get(key).and_then(|entry| entry.value.text());
    let has = |keys: [&str; 3]| keys.iter().any(|key| node.get(key).is_some());
    let place = node.get("name").map_or(&node.span, |entry| &entry.value.span);
    let title = shown(text("name").unwrap_or("without a name"));
    let (once, again) = (has(["from", "until", ""]), has(["every", "starts", "for"]));
    let mut form = |problem: String, label: &str, example: &str| {
        let found = Diagnostic::error(problem).label(layers.file, place.clone(), label);
        sink.push(found.help(format!("write, for example:  {example}")));
    };
    match (once, again) {
        (true, true) => {
            let both = "`from` and `until` are for once, `every`, `starts` and `for` for again and again";
            form(format!("the window `{title}` is once and again and again"), both, RECURRING);
            return None;
        }
        (false, false) => {
            form(format!("the window `{title}` does not say when it is"), "no `every`, no `from`", RECURRING);
            return None;
        }
        _ => {}
    }
    let needed: &[&str] = if once { &["from", "until"] } else { &["every", "starts", "for"] };
    for key in needed.iter().filter(|key| node.get(key).is_none()) {
        let example = if once { ONCE } else { RECURRING };
        form(format!("the window `{title}` has no `{key}`"), "missing here", example);
    }
    let (name, zone) = (text("name")?, text("zone")?);
    let made = if once {
        Window::once(name, text("from")?, text("until")?, zone)
    } else {
        let length = amounts::some_duration(text("for")?).ok()?;
        Window::recurring(name, text("every")?, text("starts")?, zone, length)
    };
    match made {
        Ok(window) => Some(layers.said(window, place)),
        Err(error) => {
            let key = match error.part() {
                "rule" => "every",
                "length" => "for",
                part => part,
            };
            let span = node.get(key).map_or(place, |entry| &entry.value.span);
            sink.push(refused(&title, &error.to_string(), layers.file, span));
            None
        }
    }
}

/// The domain says what is wrong and, after a semicolon, what to write.
fn refused(title: &str, said: &str, file: usize, span: &Span) -> Diagnostic {
    let (problem, help) = said.split_once("; write ").unwrap_or((said, ""));
    let problem: String = problem.chars().map(crate::nearest::visible).collect();
    let found = Diagnostic::error(format!("the window `{title}`: {problem}")).label(file, span.clone(), "");
    if help.is_empty() {
        found.help("see RFC 5545, section 3.3.10")
    } else {
        found.help(format!("write {}", help.strip_prefix("such as ").unwrap_or(help)))
    }
}

/// Every window once by its name: a verdict tells them apart by nothing else.
pub(crate) fn named_once(asked: &mut Asked, sink: &mut Sink) {
    let mut seen: Vec<Said<String>> = Vec::new();
    for list in [&mut asked.freeze, &mut asked.open] {
        list.retain(|window| {
            let first = seen.iter().find(|before| before.value == window.value.name);
            if let Some(first) = first {
                sink.push(clash("windows", &first.value, first, window));
                return false;
            }
            seen.push(Said {
                value: window.value.name.clone(),
                file: window.file,
                span: window.span.clone(),
                whole: window.whole.clone(),
                by: window.by,
            });
            true
        });
    }
}

/// Two things of one name.
pub(crate) fn clash<A, B>(what: &str, name: &str, first: &Said<A>, second: &Said<B>) -> Diagnostic {
    let owner = if first.by == second.by { "" } else { " of the organisation" };
    Diagnostic::error(format!("there are two {what} named `{}`", shown(name)))
        .label(second.file, second.span.clone(), "again here")
        .label(first.file, first.span.clone(), format!("the first{owner}"))
        .help("give one of them another name: a verdict shows nothing else of it")
}
