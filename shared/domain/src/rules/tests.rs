#![allow(clippy::unwrap_used, reason = "test code")]

use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

const WHEN: &str = "forbid(principal, action, resource) when { ";

fn rule(text: &str) -> Rule {
    Rule { name: "a rule".into(), text: text.into() }
}
fn when(condition: &str) -> Rule {
    rule(&format!("{WHEN}{condition} }};"))
}
fn refusal(rule: &Rule) -> RuleError {
    check(rule).expect_err(&rule.text)
}

#[test]
fn the_schema_is_read() {
    assert!(validator().is_ok(), "{:?}", validator().err());
}

#[test]
fn rules_that_speak_of_what_the_schema_has_are_taken() {
    for text in [
        "forbid(principal, action, resource);",
        "forbid(principal is Portcullis::Push, action, resource);",
        "forbid(principal == Portcullis::Person::\"amara\", action, resource);",
        "forbid(principal in Portcullis::Group::\"trainees\", action, resource);",
        "forbid(principal, action == Portcullis::Action::\"release\", resource == Portcullis::Environment::\"a/b\");",
        "@reason(\"nobody is here\")\nforbid(principal, action, resource)\nunless { context.time.hour < 16 };",
        "// why\nforbid(principal, action, resource) when { true } unless { context.commits < 20 };",
    ] {
        assert_eq!(check(&rule(text)), Ok(()), "{text}");
    }
    for condition in [
        r#"resource.application == "shop" && resource.name == "production" && resource.mode == "deploy""#,
        r#"resource has account && resource.account == "333333333333""#,
        r#"resource has region && resource.region like "eu-*""#,
        r#"resource.cluster == "shop" || resource.namespace == "shop""#,
        r#"context.commit like "8f3c*" || context.title like "*WIP*""#,
        r#"!context.branches.contains("main") && context.commits > 20"#,
        r#"context.authors.containsAny(["amara", "github:octocat"]) || context.approvers.isEmpty()"#,
        "context.services.containsAll(context.changed)",
        "context.findings.critical + context.findings.high + context.findings.medium + context.findings.low > 10",
        r#"["saturday", "sunday"].contains(context.time.weekday) || context.time.date == "2026-12-24""#,
        "context.time.year == 2026 && context.time.month == 12 && context.time.day > 20 && context.time.minute > 1",
        "context.started_by_person && context.forward_only && context.waiting_minutes > 60",
        "context has findings.high && context.findings.high > 0",
    ] {
        assert_eq!(check(&when(condition)), Ok(()), "{condition}");
    }
}

#[test]
fn an_attribute_that_does_not_exist_is_refused_with_its_line_and_column() {
    let error = refusal(&rule("forbid(principal, action, resource)\nwhen {\n  context.aproval > 3\n};"));
    assert_eq!((error.line, error.column), (3, 3));
    assert!(error.message.starts_with("attribute `aproval` in context"), "{error}");
    assert!(!error.message.contains("policy"), "{error}");
    assert!(error.help.unwrap().starts_with("did you mean"));
}

#[test]
fn a_column_counts_characters_and_not_bytes() {
    let error = refusal(&when(r#"context.title == "ÄÖÜ" || context.nothing"#));
    assert_eq!(error.column, 70);
}

#[test]
fn what_a_rule_can_not_be_is_refused_with_what_to_do() {
    let permit = "permit(principal, action, resource);";
    let twice = "forbid(principal, action, resource);\nforbid(principal, action, resource);";
    let no_end = format!("{WHEN}context.title == \"x }};");
    let no_type = format!("{WHEN}resource.account == \"1\" }};");
    for (text, place, message, help) in [
        ("", (1, 1), "the rule is empty", "write forbid("),
        ("  // later\n", (1, 1), "the rule is empty", "write forbid("),
        (permit, (1, 1), "a rule can not permit", "a rule can only forbid"),
        (&format!("// permit\n{permit}"), (2, 1), "a rule can not permit", "a rule can only forbid"),
        (twice, (2, 1), "the rule holds 2 policies", "make each of them a rule"),
        ("forbid(principal == ?principal, action, resource);", (1, 21), "a rule can not be a template", "write what"),
        ("forbid(principal, action", (1, 25), "unexpected end of input", "expected"),
        (&no_end, (1, 61), "this text has no end", "close it"),
        (&no_type, (1, 44), "unable to guarantee safety of access to optional attribute", "try testing"),
        ("forbid(principal, action == Portcullis::Action::\"x\", resource);", (1, 29), "unrecognized action", "did"),
    ] {
        let error = refusal(&rule(text));
        assert_eq!((error.line, error.column), place, "{text}: {error}");
        assert!(error.message.starts_with(message), "{text}: {error}");
        assert!(error.help.as_deref().unwrap_or_default().starts_with(help), "{text}: {error:?}");
    }
}

#[test]
fn a_rule_that_can_never_forbid_is_refused() {
    for condition in [
        "false",
        r#"principal is Portcullis::Push && principal in Portcullis::Group::"x""#,
        r#"resource == Portcullis::Environment::"a/b" && resource == Portcullis::Group::"x""#,
        "context.findings == {critical: 1}",
        r#"context.commits == "3""#,
    ] {
        refusal(&when(condition));
    }
    let error = refusal(&when("false"));
    assert_eq!((error.message.as_str(), error.column), ("the rule can never forbid anything", 1));
}

#[test]
fn a_weekday_or_a_mode_that_does_not_exist_is_refused() {
    for (condition, message) in [
        (r#"context.time.weekday == "Friday""#, r#"context.time.weekday is never "Friday""#),
        (r#""fri" != context.time.weekday"#, r#"context.time.weekday is never "fri""#),
        (r#"["saturday", "sonday"].contains(context.time.weekday)"#, r#"context.time.weekday is never "sonday""#),
        (r#"resource.mode == "production""#, r#"resource.mode is never "production""#),
    ] {
        assert_eq!(refusal(&when(condition)).message, message);
    }
    assert_eq!(refusal(&when(r#"context.time.weekday == "Friday""#)).column, 68);
    assert_eq!(check(&when(r#"context.title == "Friday""#)), Ok(()));
}

#[test]
fn extension_types_are_no_part_of_the_language() {
    for call in [r#"datetime("2026-12-01")"#, r#"decimal("1.0")"#, r#"ip("10.0.0.1")"#, r#"duration("1h")"#] {
        let error = refusal(&when(&format!("{call} == {call}")));
        assert!(error.message.contains(call.split('(').next().unwrap()), "{error}");
    }
    let error = refusal(&when(r#"datetime("2026-12-01") < datetime("2026-12-02")"#));
    assert_eq!((error.message.as_str(), error.column), ("a rule can not call datetime", 44));
}

#[test]
fn a_text_that_shows_something_else_than_it_says_is_refused() {
    for hidden in ["\u{202e}", "\u{0}", "\u{1b}[31m"] {
        let error = refusal(&when(&format!("context.title == \"{hidden}\"")));
        assert_eq!((error.message.as_str(), error.column), ("the rule holds a control character", 62));
    }
}

#[test]
fn a_rule_needs_a_name_that_can_be_shown() {
    for name in ["", "  ", "a\nb", "a\u{202e}b", &"n".repeat(61)] {
        let error = refusal(&Rule { name: name.into(), ..when("true") });
        assert_eq!((error.line, error.column), (1, 1));
    }
    assert_eq!(check(&Rule { name: "ü".repeat(60), ..when("true") }), Ok(()));
}

#[test]
fn a_set_of_rules_is_bounded_and_its_names_are_its_own() {
    let named = |n: usize| Rule { name: format!("rule {n}"), ..when("context.commits > 3") };
    let rules: Vec<Rule> = (0..MOST_RULES).map(named).collect();
    assert_eq!(compile(&rules).unwrap().names().count(), 50);
    let more: Vec<Rule> = (0..=MOST_RULES).map(named).collect();
    assert_eq!(compile(&more).unwrap_err().message, "there are 51 rules; the most is 50");
    assert_eq!(compile(&[named(1), named(2), named(1)]).unwrap_err().message, "two rules are named rule 1");
    let wrong = Rule { name: "the wrong one".into(), ..when("context.nothing") };
    let error = compile(&[named(1), wrong]).unwrap_err();
    assert!(error.message.starts_with("rule the wrong one: attribute `nothing`"), "{error}");
}

#[test]
fn what_rules_look_at_is_known_even_where_the_context_is_used_as_a_whole() {
    let reads = |condition: &str, attribute: &str| compile(&[when(condition)]).unwrap().reads(attribute);
    assert!(reads("context.findings.high > 0", "findings") && !reads("context.findings.high > 0", "title"));
    assert!(reads("context has title", "title"));
    assert!(reads("context has findings.high", "findings") && !reads("context has findings.high", "title"));
    assert!(reads("!(if true then {a: [1, context.commits]}.a.contains(2) else false)", "commits"));
    assert!(reads(r#"{a: context}.a.title == "x""#, "title"));
    assert!(reads(r#"(if context.forward_only then context else context).title == "x""#, "title"));
    assert!(!reads(r#"context.commit == "context.title""#, "title"));
    assert!(!reads("true", "title"));
}

#[test]
fn a_text_of_the_greatest_length_is_read_and_a_longer_one_is_not() {
    let filled = |bytes: usize| {
        let start = "forbid(principal, action, resource); //";
        rule(&format!("{start}{}", "x".repeat(bytes - start.len())))
    };
    assert_eq!(check(&filled(MOST_TEXT)), Ok(()));
    assert_eq!(refusal(&filled(MOST_TEXT + 1)).message, "the rule has 4001 bytes; the most is 4000");
}

/// Texts that make a parser, a validator or an evaluator recurse, each `n` deep.
fn deep(n: usize) -> Vec<Rule> {
    let nested = |open: &str, inner: &str, close: &str| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
    let conditions = [
        nested("(", "true", ")"),
        nested("[", "1", "]"),
        nested("{a:", "1", "}"),
        nested("!(", "true", ")"),
        nested("-(", "1", ")"),
        nested("(1 + ", "context.commits", ")"),
        nested("if context.forward_only then ", "true", " else false"),
        format!("{} true", "if context.forward_only then false else ".repeat(n)),
        format!("context.commits{} > 1", " + 1".repeat(n)),
        format!("context.commits{} > 1", " * 1".repeat(n)),
        format!("context{}", ".a".repeat(n)),
        format!("context has a{}", ".a".repeat(n)),
        format!("context{}", "[\"a\"]".repeat(n)),
        format!("true{}", " && true".repeat(n)),
        format!("true{}", " || context.forward_only".repeat(n)),
        format!("{}true", "!".repeat(n)),
        format!("context.title{}", " like \"*a*\"".repeat(n)),
        format!("true{}", " == true".repeat(n)),
        "(".repeat(n),
        ")".repeat(n),
    ];
    let mut rules: Vec<Rule> = conditions.iter().map(|condition| when(condition)).collect();
    rules.push(rule(&format!("forbid(principal, action, resource){};", " when { true }".repeat(n))));
    rules.push(rule(&format!("{}forbid(principal, action, resource);", "@a(\"b\")".repeat(n))));
    rules.push(rule(&"forbid(principal, action, resource);".repeat(n)));
    rules
}

/// Runs on a thread with this much stack: an overflow ends the test's whole process.
fn with_stack(bytes: usize, run: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(bytes).spawn(run).unwrap().join().unwrap();
}

#[test]
fn deep_texts_are_read_or_refused_without_overflowing_a_small_stack() {
    with_stack(192 * 1024, || {
        for n in [1, 15, 16, 17, 60, 125, 249, 250, 251, 500, 1_000, 100_000] {
            for rule in deep(n) {
                // What is beyond the bounds is refused; what is within them must come back at all.
                let result = check(&rule);
                assert!(n <= 250 || rule.text.len() <= MOST_TEXT || result.is_err());
            }
        }
    });
}

#[test]
fn a_long_chain_is_validated_to_its_end_however_little_stack_the_caller_has() {
    // Cedar by itself says that this is valid where it has less than 100 KB of stack left on the way down.
    with_stack(192 * 1024, || {
        let error = refusal(&when(&format!("context.commits{} > 1", ".nothing".repeat(200))));
        assert!(error.message.contains("unexpected type"), "{error}");
        refusal(&when(&format!("context.nothing{}", " && context.forward_only".repeat(120))));
    });
}

#[test]
fn every_bound_says_what_was_found_there() {
    let error = refusal(&when(&format!("{}1{}", "(".repeat(17), ")".repeat(17))));
    assert_eq!((error.message.as_str(), error.column), ("more than 16 brackets are open here", 59));
    let error = refusal(&when(&format!("true{}", " || true".repeat(300))));
    assert!(error.message.starts_with("the rule has more than 250 operators"), "{error}");
    let error = refusal(&when(&format!("{}true", "if true then false else ".repeat(17))));
    assert!(error.message.contains("more than 16 ifs"), "{error}");
    // Brackets in texts and comments nest nothing.
    let quiet = format!("context.title == \"{}\" // {}\n", "((\\\"".repeat(30), "(".repeat(30));
    assert_eq!(check(&when(&quiet)), Ok(()));
}

#[test]
fn a_long_text_is_refused_at_once() {
    for text in ["(".repeat(100_000), "\"".repeat(99_999), WHEN.repeat(2_500), "é".repeat(50_000)] {
        let begin = Instant::now();
        refusal(&rule(&text));
        assert!(begin.elapsed() < Duration::from_millis(100), "{:?}", begin.elapsed());
    }
}

fn fragments() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "forbid",
        "permit",
        "(",
        ")",
        "principal",
        "action",
        "resource",
        ",",
        ";",
        "when",
        "unless",
        "{",
        "}",
        "[",
        "]",
        "context",
        ".",
        "title",
        "findings",
        "high",
        "commits",
        "time",
        "weekday",
        "==",
        "!=",
        "<",
        ">=",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "has",
        "like",
        "in",
        "is",
        "if",
        "then",
        "else",
        "true",
        "false",
        "1",
        "9223372036854775808",
        "\"a*\"",
        "\"\\u{41}\"",
        "\"\\x\"",
        "Portcullis::Person",
        "::",
        "Portcullis::Group::\"x\"",
        "?principal",
        "@id",
        "contains",
        "containsAny",
        "isEmpty",
        "getTag",
        "datetime(\"2026-01-01\")",
        "// x\n",
        "\"",
        "__cedar",
        "'",
        "%",
        "forbid(principal, action, resource) when {",
        "};",
        "context.commits",
        "resource has account",
    ]);
    let any =
        prop_oneof![8 => known.prop_map(str::to_owned), 1 => "\\PC{0,4}", 1 => any::<char>().prop_map(String::from)];
    prop::collection::vec((any, prop_oneof![Just(""), Just(" ")]), 0..60)
        .prop_map(|parts| parts.into_iter().flat_map(|(part, space)| [part, space.to_owned()]).collect())
}

proptest! {
    #[test]
    fn whatever_a_text_holds_it_is_read_or_refused_at_a_place_in_it(text in fragments()) {
        if let Err(error) = check(&rule(&text)) {
            let lines: Vec<&str> = text.split('\n').collect();
            let line = lines[usize::try_from(error.line).unwrap() - 1];
            prop_assert!(usize::try_from(error.column).unwrap() <= line.chars().count() + 1, "{error:?}");
            prop_assert!(!error.message.is_empty() && !error.message.chars().any(char::is_control));
        }
    }
}

#[test]
fn only_the_number_that_cedar_gives_a_policy_is_left_out_of_its_words() {
    assert_eq!(without_number("for policy `0`, attribute `a`, or `b`"), "attribute `a`, or `b`");
    for said in ["unexpected token `x`, expected `y`", "for policy `0`: nothing", ""] {
        assert_eq!(without_number(said), said);
    }
}
