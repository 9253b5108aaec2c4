//! The cluster: the fence protocol, by which a late or foreign writer changes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use portcullis_domain::action::{AwaitReady, Fence, Found, ObjectKey, Purpose, Stamp, Value, Write};
use portcullis_domain::digest::Digest;
use portcullis_domain::names::{LedgerId, Seq, ServiceName, TargetId};
use portcullis_domain::policy::{Colour, Place};
use portcullis_domain::time::Millis;

use crate::ports::{Clock, Cluster, Written};

/// A cluster with what its contract is tested on.
pub struct ClusterCase {
    /// The cluster.
    pub cluster: Arc<dyn Cluster>,
    /// Its clock.
    pub clock: Arc<dyn Clock>,
    /// A target of the test's own.
    pub target: TargetId,
    /// Where it runs.
    pub place: Place,
    /// A service that has no object yet.
    pub service: ServiceName,
    /// What it is made from, where the cluster needs manifests for that.
    pub manifests: Option<String>,
    /// Two images whose pods become ready within 30 s.
    pub digests: [Digest; 2],
}

impl ClusterCase {
    fn fence(ledger: &LedgerId, epoch: u32, seq: u64) -> Fence {
        Fence { ledger: ledger.clone(), epoch, seq: Seq(seq) }
    }

    #[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
    async fn write(&self, object: &ObjectKey, from: Vec<Option<Stamp>>, to: Value, fence: &Fence) -> Written {
        let write = Write { object: object.clone(), from, to, purpose: Purpose::Deploy, bundle: None };
        let (cluster, target, place) = (&self.cluster, &self.target, &self.place);
        match &self.manifests {
            Some(text) => cluster.write_from(target, place, &write, fence, text).await.unwrap(),
            None => cluster.write(target, place, &write, fence).await.unwrap(),
        }
    }

    #[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
    async fn found(&self, object: &ObjectKey) -> Found {
        let services = BTreeSet::from([self.service.clone()]);
        let mut objects = self.cluster.observe(&self.target, &self.place, &services).await.unwrap();
        assert_eq!(objects.len(), 3, "every part of the service is told, absent ones too");
        objects.remove(object).unwrap()
    }
}

/// The contract of [`Cluster`].
///
/// # Panics
/// Where the adapter breaks it.
#[expect(clippy::unwrap_used, reason = "a contract test fails by panicking")]
pub async fn cluster(case: ClusterCase) {
    let ledger = LedgerId::new("contract").unwrap();
    let foreign = LedgerId::new("somebody-else").unwrap();
    let blue = ObjectKey::workload(&case.service, Colour::Blue);
    let traffic = ObjectKey::traffic(&case.service);
    let workload = |n: usize, replicas| Value::Workload { digest: case.digests[n], replicas };
    let stamp = |fence: &Fence, value| Some(Stamp { fence: Some(fence.clone()), value });
    let drifts = |written: &Written| matches!(written, Written::Drift(_));

    // Nothing is there, and a write that does not expect that changes nothing.
    assert_eq!(case.found(&blue).await.stamp, None);
    let early = ClusterCase::fence(&ledger, 0, 5);
    let expected = stamp(&ClusterCase::fence(&ledger, 0, 4), workload(0, 2));
    assert!(
        drifts(&case.write(&blue, vec![expected], workload(0, 1), &early).await),
        "absent is not what was expected"
    );
    assert_eq!(case.found(&blue).await.stamp, None, "a refused write creates nothing");

    // Created, with value and fence at once; repeated by the same intention it is done again.
    assert_eq!(case.write(&blue, vec![None], workload(0, 1), &early).await, Written::Done);
    assert_eq!(case.found(&blue).await.stamp, stamp(&early, workload(0, 1)));
    assert_eq!(case.write(&blue, vec![None], workload(0, 1), &early).await, Written::Done, "the same again");

    // Its pods come up, by observations after the write.
    let ask = AwaitReady { object: blue.clone(), digest: case.digests[0], replicas: 1, after: Seq(5) };
    let limit = case.clock.now() + Millis::seconds(30);
    loop {
        let seen = case.cluster.look(&case.target, &case.place, &ask).await.unwrap();
        if seen.ready >= 1 {
            assert_eq!(seen.stamp, stamp(&early, workload(0, 1)), "a look tells fence and value too");
            break;
        }
        assert!(case.clock.now() < limit, "pods of a good image become ready");
        case.clock.sleep_until(case.clock.now() + Millis(50)).await;
    }

    // A later intention writes, even if the value is right already: it leaves its fence.
    let later = ClusterCase::fence(&ledger, 0, 9);
    let from = stamp(&early, workload(0, 1));
    assert_eq!(case.write(&blue, vec![from.clone()], workload(0, 1), &later).await, Written::Done);
    assert_eq!(case.found(&blue).await.stamp, stamp(&later, workload(0, 1)), "a fenced write always writes its fence");

    // The earlier one, late, changes nothing, whatever it expected.
    let late = case.write(&blue, vec![None, from.clone()], workload(1, 0), &early).await;
    let Written::Drift(found) = late else { panic!("a late writer got through: {late:?}") };
    assert_eq!(found.stamp, stamp(&later, workload(0, 1)), "and is told what is there");
    let all = vec![None, from.clone(), stamp(&later, workload(0, 1))];
    let older = ClusterCase::fence(&ledger, 0, 8);
    assert!(drifts(&case.write(&blue, all.clone(), workload(1, 0), &older).await), "a lower fence never wins");

    // Another value than expected, another ledger, an epoch.
    let next = ClusterCase::fence(&ledger, 0, 12);
    let wrong = stamp(&later, workload(1, 1));
    assert!(
        drifts(&case.write(&blue, vec![wrong], workload(1, 0), &next).await),
        "the value is part of what is expected"
    );
    let stranger = ClusterCase::fence(&foreign, 7, 999);
    assert!(drifts(&case.write(&blue, all.clone(), workload(1, 0), &stranger).await), "a foreign ledger is refused");
    assert_eq!(case.found(&blue).await.stamp, stamp(&later, workload(0, 1)), "nothing of all that changed anything");
    let raised = ClusterCase::fence(&ledger, 1, 2);
    assert_eq!(case.write(&blue, all, workload(1, 1), &raised).await, Written::Done, "a raised epoch is newer");
    assert_eq!(case.found(&blue).await.stamp, stamp(&raised, workload(1, 1)));

    // Traffic is an object like any other, and of several writers with one fence each, the order is kept.
    let first = ClusterCase::fence(&ledger, 1, 20);
    assert_eq!(case.write(&traffic, vec![None], Value::Traffic { green: 0 }, &first).await, Written::Done);
    assert_eq!(case.found(&traffic).await.stamp, stamp(&first, Value::Traffic { green: 0 }));

    // The backup has it all, as something that can be applied again.
    let exported = case.cluster.export(&case.target, &case.place, None).await.unwrap();
    assert!(exported.sealed.is_empty(), "nothing is encrypted to nobody");
    let manifests = exported.manifests;
    assert!(manifests.len() >= 2, "at least the workload and the traffic are exported");
    assert!(manifests.iter().all(|manifest| !manifest.yaml.is_empty() && !manifest.name.is_empty()));

    // Racing writers: one of them wins with all it says, the others change nothing.
    let case = Arc::new(case);
    let from = stamp(&first, Value::Traffic { green: 0 });
    let mut racing = Vec::new();
    for n in 0..8_u16 {
        let (case, from, traffic) = (case.clone(), from.clone(), traffic.clone());
        let fence = ClusterCase::fence(&ledger, 1, 30 + u64::from(n));
        racing.push(tokio::spawn(async move {
            let written = case.write(&traffic, vec![from], Value::Traffic { green: 0 }, &fence).await;
            (written == Written::Done).then_some(fence)
        }));
    }
    let mut won = Vec::new();
    for one in racing {
        won.extend(one.await.unwrap());
    }
    assert_eq!(won.len(), 1, "of 8 writers that expect the same, one is accepted: {won:?}");
    assert_eq!(case.found(&traffic).await.stamp, stamp(&won[0], Value::Traffic { green: 0 }));
}
