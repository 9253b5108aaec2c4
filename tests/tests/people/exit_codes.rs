//! What commands end with.

use portcullis_tests::binary::{self, Ran};

use crate::{Shop, asks};

/// What a command ends with, as `portcullis --help` says.
#[tokio::test(flavor = "multi_thread")]
async fn exit_codes_are_as_the_help_says() {
    let shop = Shop::open(asks()).await;
    let (_, release) = shop.waiting("v2", &shop.baseline).await;
    let folder = tempfile::tempdir().unwrap();
    let bad = folder.path().join("bad.yaml");
    std::fs::write(
        &bad,
        "portcullis: 1\napplication: shop\nservices: { web: {} }\nenvironments: { x: { mode: deplyo } }\n",
    )
    .unwrap();
    let (good, bad) = (shop.home.policies()[0].to_string_lossy().into_owned(), bad.to_string_lossy().into_owned());
    let data = shop.server.data().to_string_lossy().into_owned();
    let id = release["id"].to_string();
    let plan = release["plan"].as_str().unwrap();

    let help = binary::run(&["--help"], &[]);
    assert_eq!(help.code, Some(0));
    assert!(help.stdout.contains("Exit codes:"), "{help:?}");

    let check = |code: i32, ran: &Ran, what: &str| assert_eq!(ran.code, Some(code), "{what}: {ran:?}");
    for (code, args) in [
        (0, &["policy", "check", &good][..]),
        (0, &["policy", "schema"]),
        (0, &["policy", "explain", &good, "--target", "shop/production"]),
        (5, &["policy", "simulate", &good, "shop/production"]),
        (0, &["policy", "simulate", &good, "shop/production", "--approve", "kofi", "--json"]),
        (6, &["policy", "simulate", &good, "shop/production", "--approve", "kofi", "--finding", "critical=1"]),
        (2, &["policy", "simulate", &good, "shop/production", "--approve", "mallory"]),
        (4, &["policy", "simulate", &good, "shop/staging"]),
        (0, &["completions", "bash"]),
        (0, &["--version"]),
        (0, &["person", "list", "--data", &data]),
        (2, &["policy", "check", &bad]),
        (2, &["policy", "check", "/no/such/file.yaml"]),
        (2, &["policy", "explain", &bad]),
        (2, &["serve", "--policy", &good, "--data", &data]),
        (2, &["no-such-command"]),
        (2, &["rollback", "--reason", "x"]),
        (2, &["person", "add", "a b", "--data", &data]),
        (2, &["status"]),
        (3, &["person", "add", "kofi", "--data", &data]),
        (4, &["person", "remove", "nobody", "--data", &data]),
        (4, &["policy", "explain", &good, "--target", "shop/staging"]),
    ] {
        check(code, &binary::run(args, &[]), &args.join(" "));
    }
    for (code, who, args) in [
        (0, "kofi", &["status", "shop/production"][..]),
        (0, "kofi", &["release", "show", &id]),
        (0, "kofi", &["release", "list", "--state", "gated"]),
        (2, "kofi", &["release", "list", "--state", "done"]),
        (2, "kofi", &["release", "approve", &id, "--plan", "latest"]),
        (2, "kofi", &["rollback", "shop/production", "--reason", "x"]),
        (2, "", &["status"]),
        (3, "mallory", &["release", "approve", &id, "--plan", plan]),
        (3, "amara", &["release", "approve", &id, "--plan", plan]),
        (3, "kofi", &["release", "approve", &id, "--plan", "0000-0000"]),
        (3, "kofi", &["rollback", "shop/production", "--reason", "x", "--yes"]),
        (3, "not-a-token", &["status"]),
        (4, "kofi", &["release", "show", "999"]),
        (4, "kofi", &["release", "approve", "999", "--plan", plan]),
        (4, "kofi", &["status", "shop/staging"]),
        (4, "kofi", &["rollback", "shop/staging", "--reason", "x", "--yes"]),
    ] {
        let ran = shop.run(who, args);
        check(code, &ran, &args.join(" "));
        if code != 0 {
            assert!(!ran.stderr.trim().is_empty() && ran.stdout.is_empty(), "{}: {ran:?}", args.join(" "));
        }
    }
    // Nobody listens there.
    let gone = binary::run(&["status"], &[("PORTCULLIS_SERVER", "http://127.0.0.1:1"), ("PORTCULLIS_TOKEN", "x")]);
    check(1, &gone, "a server that is not there");
    // Reading works beside a running server; writing does not.
    check(0, &binary::run(&["status", "--data", &data], &[]), "status of a data directory in use");
    let token = shop.tokens["kofi"].as_str();
    let write =
        binary::run(&["release", "pause", &id, "--data", &data, "--policy", &good], &[("PORTCULLIS_TOKEN", token)]);
    check(1, &write, "writing beside a running server");
    assert_eq!(shop.kofi.release(&release["id"]).await["paused"], false);
}
