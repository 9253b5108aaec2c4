//! How findings are drawn: the page LOOK prescribes, in Unicode and ASCII, with colour, over files, on long lines.

mod with;

use portcullis_policy::{Style, check};
use with::{GOOD, files, good_with};

#[test]
fn an_unreachable_quorum_and_an_empty_value_are_drawn_like_this() {
    let text = good_with("[1 of owners]", "[2 of owners]         # never the requester, an author or a bot")
        .replace("owners: [kofi, lena]", "owners: [kofi]")
        .replace("[terminal]", "#deployments");
    insta::assert_snapshot!(check(&files(&[("shop.yaml", &text)])).render(&Style::PLAIN));
}

#[test]
fn without_unicode_it_is_ascii_only() {
    let text = good_with("[terminal]", "#déployments").replace("below 1%", "below 0.01");
    let page = check(&files(&[("shöp.yaml", &text)])).render(&Style::ASCII);
    assert!(page.is_ascii());
    insta::assert_snapshot!(page);
}

#[test]
fn colour_paints_and_never_says_anything_of_its_own() {
    let report = check(&files(&[("shop.yaml", &good_with("mode: deploy", "mode: maybe"))]));
    let plain = report.render(&Style::PLAIN);
    let painted = report.render(&Style { colour: true, ascii: false });
    assert!(painted.contains("\u{1b}[1;31merror\u{1b}[0m"));
    let mut bare = String::new();
    let mut rest = painted.as_str();
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        bare.push_str(before);
        rest = after.split_once('m').map_or("", |(_, tail)| tail);
    }
    assert_eq!(format!("{bare}{rest}"), plain);
}

#[test]
fn a_finding_over_two_files_names_both() {
    let other = GOOD.replace("application: shop", "application: store");
    insta::assert_snapshot!(check(&files(&[("a.yaml", GOOD), ("b.yaml", &other)])).render(&Style::PLAIN));
}

#[test]
fn a_long_line_is_cut_around_what_is_wrong_with_it() {
    let long: Vec<String> = (0..40).map(|n| format!("GET /path/number/{n}")).collect();
    let text = good_with("[GET /health]", &format!("[{}, /health, {}]", long.join(", "), long.join(", ")));
    let page = check(&files(&[("shop.yaml", &text)])).render(&Style::PLAIN);
    assert!(page.lines().all(|line| line.chars().count() <= 100), "{page}");
    insta::assert_snapshot!(page);
}

#[test]
fn several_places_on_one_line_each_have_their_words() {
    let text =
        good_with("  api: {}\n  jobs: { after: api, kind: worker }", "  { api: { after: web }, web: { after: api } }");
    insta::assert_snapshot!(check(&files(&[("shop.yaml", &text)])).render(&Style::PLAIN));
}

#[test]
fn what_could_move_the_cursor_is_not_passed_on() {
    let text = good_with("branch: main", "branch: \"m\u{202e}\u{1b}[31m ain\"");
    let page = check(&files(&[("shop\u{1b}[2J.yaml", &text)])).render(&Style::PLAIN);
    assert!(!page.contains(['\u{1b}', '\u{202e}']), "{page}");
}

#[test]
fn positions_are_right_behind_characters_of_several_bytes_and_with_windows_line_ends() {
    let text = good_with("roll_back: {", "gates_: \"é—𝄞\"\n    roll_back: { \"ü\": 1,").replace('\n', "\r\n");
    let report = check(&files(&[("p", &format!("# ünï\r\n{text}"))]));
    assert_eq!(
        with::lines(&report),
        "Error p:20:5 `gates_` is not a key of environments.production\n\
         Error p:21:18 `ü` is not a key of environments.production.roll_back\n"
    );
}
