//! Addresses of pods, nodes and Services that are real on this machine: a block of them is routed to the loopback
//! device, so that any of them can be listened on without being added one by one.
//!
//! Loopback's own 127.0.0.0/8 will not do: the API server refuses it in Endpoints and EndpointSlices.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::CannotRun;

/// So many clusters can be on one machine.
const BLOCKS: u8 = 64;
/// The second octet of pods' and nodes' addresses, and of Services'.
const PODS: u8 = 89;
const SERVICES: u8 = 90;

/// 1,024 addresses for pods and nodes, and 1,024 for Services, that no other cluster on this machine has. Given back
/// when dropped; what a killed process left is taken over by the next that takes the same block.
#[derive(Debug)]
pub struct Block {
    /// The third octet of its first address.
    first: u8,
    /// Held as long as the block is: the system lets go of it with the process.
    _lock: File,
}

impl Block {
    /// Takes the first block that is free.
    ///
    /// # Errors
    /// When routes cannot be added (that takes Linux and root), or no block is free.
    pub fn take() -> Result<Self, CannotRun> {
        let folder = std::env::temp_dir().join("portcullis-test-addresses");
        let cannot = |error: std::io::Error| CannotRun(format!("{} cannot be used: {error}", folder.display()));
        fs::create_dir_all(&folder).map_err(cannot)?;
        for block in 0..BLOCKS {
            let lock = File::create(folder.join(format!("{block}.lock"))).map_err(cannot)?;
            if lock.try_lock().is_err() {
                continue;
            }
            let block = Self { first: block * 4, _lock: lock };
            if block.is_used_by_another_network()? {
                continue;
            }
            for range in block.ranges() {
                ip(&["route", "replace", "local", &range, "dev", "lo"])?;
            }
            return Ok(block);
        }
        Err(CannotRun(format!("all {BLOCKS} blocks of 10.{PODS}.0.0/16 are taken by clusters or networks")))
    }

    /// Whether a route of somebody else leads there.
    fn is_used_by_another_network(&self) -> Result<bool, CannotRun> {
        for range in self.ranges() {
            let address = range.split('/').next().unwrap_or_default();
            let routes = ip(&["-4", "route", "show", "table", "all", "match", address])?;
            let ours = format!("local {range} dev lo");
            let foreign = |route: &str| !route.is_empty() && !route.starts_with("default") && !route.starts_with(&ours);
            if routes.lines().map(str::trim).any(foreign) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn ranges(&self) -> [String; 2] {
        [format!("10.{PODS}.{}.0/22", self.first), self.services()]
    }

    /// The range of Services' addresses, as the API server is told it.
    pub fn services(&self) -> String {
        format!("10.{SERVICES}.{}.0/22", self.first)
    }

    /// The address of a node, counted from 1.
    pub fn node(&self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, PODS, self.first + 3, number)
    }

    /// The address that the API server says it has. Nothing listens there.
    pub fn api_server(&self) -> Ipv4Addr {
        self.node(254)
    }

    /// All addresses of pods.
    pub fn pods(&self) -> Pool {
        let address = |third: u8, fourth: u8| Ipv4Addr::new(10, PODS, self.first + third, fourth);
        let free = (0..3).flat_map(|third| (1..255).map(move |fourth| address(third, fourth))).collect();
        Pool(Arc::new(Mutex::new(free)))
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        for range in self.ranges() {
            // What stays does no harm: whoever takes the block next replaces it.
            let _ = ip(&["route", "del", "local", &range, "dev", "lo"]);
        }
    }
}

fn ip(args: &[&str]) -> Result<String, CannotRun> {
    let wanted = format!("`ip {}`", args.join(" "));
    let needs = "pods need addresses of their own, which takes Linux, iproute2 and root";
    let output = Command::new("ip").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| CannotRun(format!("{needs}: {wanted} does not start: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(CannotRun(format!("{needs}: {wanted} said: {}", said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Addresses of pods. One that was given back is taken again after all others: who still knows it reaches nobody.
#[derive(Debug, Clone)]
pub struct Pool(Arc<Mutex<VecDeque<Ipv4Addr>>>);

impl Pool {
    /// Takes an address; none = all are taken.
    pub fn take(&self) -> Option<Address> {
        let ip = self.0.lock().unwrap().pop_front()?;
        Some(Address { ip, pool: self.clone() })
    }
}

/// A pod's address, given back when dropped.
#[derive(Debug)]
pub struct Address {
    /// The address.
    pub ip: Ipv4Addr,
    pool: Pool,
}

impl Drop for Address {
    fn drop(&mut self) {
        self.pool.0.lock().unwrap().push_back(self.ip);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_was_given_back_is_the_last_to_be_taken_again() {
        let ip = |fourth| Ipv4Addr::new(10, PODS, 0, fourth);
        let pool = Pool(Arc::new(Mutex::new([ip(1), ip(2)].into())));
        let first = pool.take().unwrap();
        assert_eq!(first.ip, ip(1));
        drop(first);
        let (second, third) = (pool.take().unwrap(), pool.take().unwrap());
        assert_eq!((second.ip, third.ip), (ip(2), ip(1)));
        assert!(pool.take().is_none());
    }
}
