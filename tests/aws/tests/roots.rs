//! Whom a connection trusts: a server that Amazon's roots do not vouch for is reached if the system's do, and only then.
//!
//! The system's roots are read once per process from where `SSL_CERT_FILE` says, so each case is a process of its own:
//! this test program, asked for the one test that calls.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use portcullis_aws::client::Clients;
use portcullis_tests_aws::resources;

const ENDPOINT: &str = "TEST_ENDPOINT";

struct Server {
    process: Child,
    endpoint: String,
}

impl Server {
    /// Python and its `cryptography` are there because moto needs them.
    fn start(folder: &Path) -> Self {
        let moto = std::env::var_os("PORTCULLIS_MOTO").map(PathBuf::from);
        let moto = moto.expect("PORTCULLIS_MOTO names the moto server: run `cargo xtask test aws`, which installs it");
        let mut process = Command::new(moto.with_file_name("python3"))
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/roots/server.py"))
            .arg(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starting the server");
        let mut port = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut port).unwrap();
        let endpoint = format!("https://localhost:{}", port.trim().parse::<u16>().expect("its port"));
        Self { process, endpoint }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Calls the server in a process that finds the system's roots in this file.
fn call(server: &Server, roots: &Path) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "calls_twice", "--ignored", "--nocapture"])
        .env(ENDPOINT, &server.endpoint)
        .env("SSL_CERT_FILE", roots)
        .env_remove("SSL_CERT_DIR")
        .output()
        .unwrap()
}

#[test]
fn a_server_that_only_the_system_trusts_is_reached() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path());
    let called = call(&server, &folder.path().join("root.pem"));
    assert!(called.status.success(), "{called:?}");
    assert!(String::from_utf8_lossy(&called.stdout).contains("1 passed"), "{called:?}");
}

#[test]
fn a_server_that_nobody_trusts_is_not_reached() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (server, _other) = (Server::start(folder.path()), Server::start(other.path()));
    let called = call(&server, &other.path().join("root.pem"));
    let said = String::from_utf8_lossy(&called.stdout).into_owned() + &String::from_utf8_lossy(&called.stderr);
    assert!(!called.status.success() && said.contains("UnknownIssuer"), "{said}");
}

#[tokio::test]
#[ignore = "run by the other tests, each time as a process of its own"]
async fn calls_twice() {
    let endpoint = std::env::var(ENDPOINT).expect("the server's address");
    let clients = Clients::new(resources::config(&endpoint).await);
    // First over the fallback, then over what it remembered.
    for _ in 0..2 {
        let tables = clients.dynamodb().list_tables().send().await.unwrap();
        assert_eq!(tables.table_names(), ["reached"]);
    }
}
