//! AWS's APIs on this machine: a server that runs for as long as a test needs it.
//!
//! It must not be believed on what it does not do: moto ignores `ClientRequestToken` and accepts wrong checksums.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use portcullis_aws::client::Clients;

use crate::resources::{config, over};
use crate::wire::Wire;

/// Python and Java start slowly on a busy machine.
const STARTS_WITHIN: Duration = Duration::from_mins(3);

/// A running emulator. Tests of one process share it; it ends with the last of them.
#[derive(Debug)]
pub struct Emulator {
    port: u16,
    process: Child,
}

impl Emulator {
    /// The moto server, by `PORTCULLIS_MOTO`, with its own races taken out (`moto_server.py` says which).
    pub fn moto() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Emulator>> = Mutex::new(Weak::new());
        Self::shared(&RUNNING, |port| {
            let named = std::env::var_os("PORTCULLIS_MOTO").map(PathBuf::from);
            let program =
                named.expect("PORTCULLIS_MOTO names the moto server: run `cargo xtask test aws`, which installs it");
            assert!(program.is_file(), "PORTCULLIS_MOTO names {}, and there is no such file", program.display());
            let mut command = Command::new(program.with_file_name("python3"));
            command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/src/moto_server.py"));
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        })
    }

    /// AWS's own DynamoDB Local if `PORTCULLIS_DYNAMODB_LOCAL` names the folder of its jars, else moto.
    pub fn of_dynamodb() -> Arc<Self> {
        static RUNNING: Mutex<Weak<Emulator>> = Mutex::new(Weak::new());
        let Some(jars) = std::env::var_os("PORTCULLIS_DYNAMODB_LOCAL").map(PathBuf::from) else { return Self::moto() };
        Self::shared(&RUNNING, |port| {
            assert!(jars.is_dir(), "PORTCULLIS_DYNAMODB_LOCAL names {}, and there is no such folder", jars.display());
            let mut command = Command::new("java");
            command
                .arg(format!("-Djava.library.path={}", jars.display()))
                .args(["-cp", &jars.join("*").display().to_string()])
                .arg("com.amazonaws.services.dynamodbv2.local.main.ServerRunner")
                .args(["-inMemory", "-port", &port.to_string()]);
            command
        })
    }

    fn shared(running: &Mutex<Weak<Self>>, command: impl FnOnce(u16) -> Command) -> Arc<Self> {
        // A test that could not start it poisons nothing for the next.
        let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
        running.upgrade().unwrap_or_else(|| {
            let started = Arc::new(Self::start(command));
            *running = Arc::downgrade(&started);
            started
        })
    }

    fn start(command: impl FnOnce(u16) -> Command) -> Self {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = free.local_addr().expect("its number").port();
        drop(free);
        let mut command = command(port);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut emulator = Self { port, process: process.expect("starting an emulator") };
        let begun = Instant::now();
        while !listens(port) {
            if let Some(status) = emulator.process.try_wait().expect("looking after an emulator") {
                panic!("an emulator ended at its start ({status}): {command:?}");
            }
            assert!(begun.elapsed() < STARTS_WITHIN, "not started within {STARTS_WITHIN:?}: {command:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        emulator
    }

    /// Its address.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Clients that speak to it as the product speaks to AWS.
    pub async fn clients(&self) -> Clients {
        Clients::new(config(&self.endpoint()).await)
    }

    /// The same, over a wire that a test can watch and cut.
    pub async fn clients_over(&self, wire: &Wire) -> Clients {
        Clients::new(over(&config(&self.endpoint()).await, wire))
    }
}

/// Whether somebody listens. Where nobody does, the system may give the connection its own target as its source: it is
/// then connected to itself.
fn listens(port: u16) -> bool {
    let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
    connected.is_ok_and(|stream| stream.local_addr().is_ok_and(|own| own.port() != port))
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
