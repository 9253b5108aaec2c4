//! The user's own rules: what is wrong with one, how long it may be, and what it shows.

use std::thread;

use portcullis_domain::gate::{self, Case};
use portcullis_domain::names::ReleaseId;
use portcullis_domain::rules::{self, MOST_RULES, Rule};
use portcullis_domain::verdict::Verdict;

use crate::world::rules::forbidding;
use crate::world::*;

#[test]
fn the_first_thing_wrong_with_a_rule_is_what_is_told() {
    for count in 2..8 {
        // Each on a line of its own, and none like another.
        let wrong: Vec<String> = (0..count).map(|n| format!("context.nothing{n} > {n}")).collect();
        let rule = forbidding("a rule", &wrong.join(" ||\n"));
        let error = rules::check(&rule).unwrap_err();
        assert_eq!((error.line, error.column), (1, 44), "{error}");
        assert!(error.message.starts_with("attribute `nothing0` in context"), "{error}");
    }
}

#[test]
fn compiled_rules_are_shown_by_their_names() {
    let named = |n: usize| forbidding(&format!("rule {n}"), "context.commits > 3");
    let compiled = rules::compile(&[named(1), named(2)]).unwrap();
    assert_eq!(format!("{compiled:?}"), r#"{"rule 1", "rule 2"}"#);
    let rules: Vec<Rule> = (0..MOST_RULES).map(named).collect();
    assert_eq!(rules::compile(&rules).unwrap().names().count(), MOST_RULES);
}

/// A text with so many of one operator, which no parser need understand: the bounds are looked at first.
fn bound(unit: &str, times: usize) -> Option<String> {
    let rule = Rule { name: "a rule".into(), text: unit.repeat(times) };
    let message = rules::check(&rule).unwrap_err().message;
    message.starts_with("the rule has more than 250 operators").then_some(message)
}

#[test]
fn every_operator_counts_and_nothing_else_does() {
    for operator in [".", "!", "-", "+", "*", "<", ">", "&&", "||", "==", "in", "has", "like", "is"] {
        let unit = format!("{operator} ");
        assert_eq!(bound(&unit, 250), None, "{operator}");
        assert!(bound(&unit, 251).is_some(), "{operator}");
        // `.` and its like need no space between them.
        assert_eq!(bound(operator, 250), None, "{operator}");
    }
    // What only begins or ends like one, is half of one, or stands in a text or a comment.
    for other in ["inside ", "_in ", "in_ ", "in1 ", "iff ", "& ", "| ", "= ", "x ", "\"!\" ", "//!\n", "1 "] {
        assert_eq!(bound(other, 300), None, "{other:?}");
    }
    assert_eq!(bound("if ", 16), None);
    assert!(bound("if ", 17).is_some());
    assert_eq!(bound("_if ", 17), None);
    assert!(bound("/!", 251).is_some(), "one stroke begins no comment");
    assert!(bound("//x\n!", 251).is_some(), "what follows on a comment counts again");
    assert!(bound("\"x\\\"\" !", 251).is_some(), "what follows on a text counts again");
    assert!(bound("a_b1!", 251).is_some(), "what follows on a word counts again");
}

#[test]
fn sixteen_brackets_may_be_open_and_closed_ones_are_not() {
    let nested = |n: usize| forbidding("a rule", &format!("{}context.commits{} > 3", "(".repeat(n), ")".repeat(n)));
    // One is open already: that of `when`.
    assert_eq!(rules::check(&nested(15)), Ok(()));
    let error = rules::check(&nested(16)).unwrap_err();
    assert_eq!((error.message.as_str(), error.column), ("more than 16 brackets are open here", 59));
    let flat = forbidding("a rule", &["(context.commits > 3)"; 30].join(" || "));
    assert_eq!(rules::check(&flat), Ok(()));
    // A comment need not end.
    let text = format!("forbid(principal, action, resource); // {}", "( ".repeat(100));
    assert_eq!(rules::check(&Rule { name: "a rule".into(), text }), Ok(()));
}

#[test]
fn a_word_is_pointed_at_where_it_is_one() {
    for before in [
        r#"context.title == "datetime" && "#,
        r#"context.title == "\"datetime" && "#,
        "// datetime\n",
        "context.datetimes && ",
        "context._datetime && ",
        "context.datetime1 && ",
    ] {
        let rule = forbidding("a rule", &format!(r#"{before}datetime("2026-12-01") < datetime("2026-12-02")"#));
        let error = rules::check(&rule).unwrap_err();
        assert_eq!(error.message, "a rule can not call datetime", "{before}");
        // Before it stands `forbid(principal, action, resource) when { `.
        let place = if before.ends_with('\n') { (2, 1) } else { (1, 44 + before.len()) };
        assert_eq!((error.line, error.column as usize), place, "{before}");
    }
}

#[test]
fn only_the_weekday_and_the_mode_of_a_release_are_one_of_a_few() {
    // A record may call its own field so, and put any text there.
    let own = r#"{a: {weekday: context.title}}.a.weekday == "WIP" || {a: {mode: context.title}}.a.mode == "WIP""#;
    assert_eq!(rules::check(&forbidding("a rule", own)), Ok(()));
    let error = rules::check(&forbidding("a rule", r#"context.mode == "production""#)).unwrap_err();
    assert!(error.message.starts_with("attribute `mode` in context"), "{error}");
}

/// A world whose release of commit 2 waits under one rule.
fn under(rule: Rule, prepare: impl FnOnce(&mut World)) -> (World, ReleaseId) {
    let mut policy = policy();
    policy.gates.rules = vec![rule];
    let mut world = World::new(policy);
    world.build(2, "amara");
    prepare(&mut world);
    let id = world.push(2);
    (world, id)
}

#[test]
fn what_a_rule_looked_at_is_shown_on_one_line_without_what_could_deceive() {
    let rule = forbidding("a rule", r#"context.title like "fix*" || context.approvers.contains("kofi")"#);
    let title = "fix\u{202e}ed\u{7}\nat\tlast";
    let (world, id) = under(rule, |world| world.commits.get_mut(&commit(2)).unwrap().title = title.into());
    let judgement = world.release(id).judgement.as_ref().unwrap();
    let gate = judgement.gates.iter().find(|gate| gate.gate == "rules").unwrap();
    assert_eq!(gate.parts[0].evidence, ["title: fixed at last", "approvers: none"]);
}

#[test]
fn the_longest_rule_is_evaluated_to_its_end_however_much_stack_the_caller_has() {
    let sum = format!("context.commits{} > 100", " + 1".repeat(247));
    let (world, id) = under(forbidding("a rule", &sum), |_| ());
    assert_eq!(world.gate(id, "rules"), "hold: forbidden by a rule");
    // It was read already; what is left is to ask it.
    let judged = || {
        let release = world.release(id);
        let given = world.given();
        let facts = release.facts.as_ref().unwrap();
        let case = Case { target: &world.target, release, policy: &world.policy, facts, given: &given };
        let gate = gate::judge(&case).gates.into_iter().find(|gate| gate.gate == "rules").unwrap();
        assert_eq!((gate.verdict, gate.why.as_str()), (Verdict::Hold, "forbidden by a rule"));
    };
    thread::scope(|scope| {
        for kib in [128, 1_024, 1_060, 1_100, 1_150, 2_048, 8_192] {
            thread::Builder::new().stack_size(kib * 1_024).spawn_scoped(scope, judged).unwrap();
        }
    });
}
