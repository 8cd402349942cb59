//! The files for Prometheus and Grafana, and the page for operators, speak of what there is, and of all.

use std::collections::BTreeSet;

use rendezvous::Limits;

use crate::{http::get, open, start};

const ALERTS: &str = include_str!("../../../docs/operations/alerts.yml");
const TRIALS: &str = include_str!("../../../docs/operations/alerts.test.yml");
const GRAFANA: &str = include_str!("../../../docs/operations/grafana.json");
const PAGE: &str = include_str!("../../../docs/operations.md");

const PREFIX: &str = "wattle_rendezvous_";

/// The metrics that a text names, without what all begin with.
fn named(text: &str) -> BTreeSet<&str> {
    let is_name = |it: char| it.is_ascii_lowercase() || it == '_';
    let names =
        text.split(PREFIX).skip(1).map(|rest| rest.split(|it| !is_name(it)).next().unwrap());
    names.collect()
}

/// What follows a key in each line that has it.
fn after<'a>(text: &'a str, key: &str) -> BTreeSet<&'a str> {
    text.lines().filter_map(|line| Some(line.split_once(key)?.1.trim())).collect()
}

/// The names of all samples, and the reasons of refusals.
async fn exposed() -> (BTreeSet<String>, BTreeSet<String>) {
    let (_relay, watch) = start(Limits::live(), open()).await;
    let text = get(watch, "/metrics").await.body;
    let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let name = |line: &&str| {
        line.split(['{', ' ']).next().unwrap().strip_prefix(PREFIX).unwrap().to_owned()
    };
    let reason = |line: &&str| Some(line.split_once("{reason=\"")?.1.split_once('"')?.0.to_owned());
    (samples.iter().map(name).collect(), samples.iter().filter_map(reason).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_and_reason_that_alerts_and_dashboard_name_is_there() {
    let (names, reasons) = exposed().await;
    let dashboard: serde_json::Value = serde_json::from_str(GRAFANA).unwrap();
    let dashboard = dashboard.to_string();
    for (place, text) in [("alerts", ALERTS), ("trials", TRIALS), ("dashboard", &dashboard)] {
        let named = named(text);
        assert!(named.len() >= 5, "{place}: {named:?}");
        for name in named {
            assert!(names.contains(name), "{place}: there is no {name}");
        }
    }
    for chosen in ALERTS.split("reason=~\"").skip(1).chain(TRIALS.split("reason=\"").skip(1)) {
        for reason in chosen.split_once('"').unwrap().0.split('|') {
            assert!(reasons.contains(reason), "there is no reason {reason}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_can_look_up_every_metric_and_every_reason() {
    let (names, reasons) = exposed().await;
    for name in names {
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end));
        let family = family.unwrap_or(&name);
        assert!(PAGE.contains(&format!("`{family}`")), "{family} is not in docs/operations.md");
    }
    for reason in reasons {
        assert!(PAGE.contains(&format!("`{reason}`")), "{reason} is not in docs/operations.md");
    }
}

#[test]
fn every_alert_is_tried_and_says_where_to_read_what_to_do() {
    let alerts = after(ALERTS, "- alert: ");
    assert!(alerts.len() >= 10, "{alerts:?}");
    assert_eq!(alerts, after(TRIALS, "        alertname: "));
    for alert in alerts {
        assert!(PAGE.contains(&format!("| `{alert}` |")), "{alert} is not in docs/operations.md");
        let quiet = format!("{{ eval_time: 9h, alertname: {alert}, exp_alerts: [] }}");
        assert!(TRIALS.contains(&quiet), "nothing says when {alert} is quiet");
    }
}

#[test]
fn every_panel_of_the_dashboard_asks_something_of_the_relay_that_was_chosen() {
    let dashboard: serde_json::Value = serde_json::from_str(GRAFANA).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(panel["description"].as_str().is_some_and(|it| it.len() > 10), "{title}");
        for target in panel["targets"].as_array().unwrap() {
            let asked = target["expr"].as_str().unwrap();
            for of in asked.split(PREFIX).skip(1) {
                assert!(
                    of.contains("{job=~\"$job\", instance=~\"$instance\"}"),
                    "{title}: {asked}"
                );
            }
        }
    }
}
