//! A service is switched and rolled back again and again under constant load on kept and new connections and with slow
//! requests in flight, while its pods are evicted, its autoscaler acts, and two drivers do everything twice: no request is
//! lost, none is answered by a version that nobody approved. `PORTCULLIS_SWITCHES` says how often; the bench does it 50
//! times.

use std::time::Duration;

use portcullis_tests_kubernetes::cluster::{Cluster, Options};
use portcullis_tests_kubernetes::zero_loss::{self, Row, Way, heading};

fn show(row: &Row) {
    eprintln!("{}\n{}\n  meanwhile: {:?}", heading(), row.line(), row.meanwhile);
}

fn assert_clean(row: &Row) {
    show(row);
    let report = &row.report;
    assert_eq!((report.lost, report.failed, report.wrong), (0, 0, 0), "{report:?}");
    assert_eq!(row.too_few, Vec::<String>::new());
    assert!(["kept", "fresh", "slow"].iter().all(|kind| report.kinds[kind] > 0), "{report:?}");
    // Else it would have been calm, or one driver alone.
    for happened in ["pods evicted", "scaled up", "writes of one driver", "writes of the other"] {
        assert!(row.meanwhile.get(happened).is_some_and(|count| *count > 0), "{happened}: {:?}", row.meanwhile);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_proxies_follow_at_once() {
    let Some(cluster) = Cluster::shared().await else { return };
    assert_clean(&zero_loss::run(cluster, Way::Portcullis, Duration::ZERO, zero_loss::turns()).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_proxies_follow_late() {
    let lag = Duration::from_millis(300);
    let Some(cluster) = Cluster::alone(Options { lag, ..Options::default() }).await else { return };
    assert_clean(&zero_loss::run(&cluster, Way::Portcullis, lag, zero_loss::turns()).await);
}

/// Without this, the tests above could pass on a harness that sees nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_selector_that_is_patched_before_the_new_pods_are_ready_is_seen_to_lose_some() {
    let Some(cluster) = Cluster::shared().await else { return };
    cluster.assert_has_our_nodes().await;
    let row = zero_loss::run(cluster, Way::Selector, Duration::ZERO, 1).await;
    show(&row);
    assert!(row.report.lost > 0, "{:?}", row.report);
    assert!(!row.too_few.is_empty(), "the guard saw no moment without endpoints");
}
