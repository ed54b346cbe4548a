//! Simulated worlds: 330 seeds in every run, as many as you like with `KEYWAY_SEEDS=N`.
//!
//! A failure prints kind and seed; `KEYWAY_FIRST_SEED=S KEYWAY_SEEDS=1` repeats it exactly.

use keyway_testkit::world::{Kind, Report, Speech, run, run_all, run_in};

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

fn worlds(kind: Kind) -> Vec<Report> {
    worlds_of(Speech::Memcached, kind, 60)
}

fn worlds_of(speech: Speech, kind: Kind, seeds: u64) -> Vec<Report> {
    let first = number("KEYWAY_FIRST_SEED", 0);
    run_all(speech, kind, first..first + number("KEYWAY_SEEDS", seeds))
}

fn total(reports: &[Report], count: impl Fn(&Report) -> u64) -> u64 {
    reports.iter().map(count).sum()
}

#[test]
fn rough_networks_lose_nothing() {
    let reports = worlds(Kind::Rough);
    assert!(total(&reports, |r| r.values) > 0, "values were seen");
}

#[test]
fn reloads_in_flight_lose_nothing() {
    let reports = worlds(Kind::Reloading);
    assert!(total(&reports, |r| r.values) > 0, "values were seen");
}

#[test]
fn broken_connections_never_cross_replies() {
    let reports = worlds(Kind::Wild);
    assert!(total(&reports, |r| r.values) > 0, "values were seen");
    assert!(total(&reports, |r| r.errors) > 0, "things broke");
}

#[test]
fn lying_servers_never_pass_a_wrong_value() {
    let reports = worlds(Kind::Lying);
    assert!(total(&reports, |r| r.values) > 0, "values were seen");
    assert!(total(&reports, |r| r.errors) > 0, "lies were noticed");
}

/// Local, split, slow, failing, blocking, unanswered requests and transactions, all in pipelines:
/// every reply is for its request, and what a client wrote is what it reads.
#[test]
fn redis_pipelines_never_cross_replies() {
    let reports = worlds_of(Speech::Redis, Kind::Rough, 30);
    assert!(total(&reports, |r| r.values) > 0, "values were seen");
}

#[test]
fn redis_pipelines_survive_reloads() {
    let reports = worlds_of(Speech::Redis, Kind::Reloading, 30);
    assert!(total(&reports, |r| r.values) > 0, "values were seen");
}

#[test]
fn broken_connections_never_cross_redis_replies() {
    let reports = worlds_of(Speech::Redis, Kind::Wild, 30);
    assert!(total(&reports, |r| r.values) > 0, "values were seen");
    assert!(total(&reports, |r| r.errors) > 0, "things broke");
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in [1, 2, 3] {
        assert_eq!(run(Kind::Wild, seed).digest, run(Kind::Wild, seed).digest);
        let redis = || run_in(Speech::Redis, Kind::Wild, seed).digest;
        assert_eq!(redis(), redis());
    }
}
