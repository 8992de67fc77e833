//! The page is well formed, escapes what others wrote, and fetches nothing.

use super::render;
use crate::fixture;
use osler_core::report::{Report, build};
use quick_xml::Reader;
use quick_xml::events::Event;

fn report() -> Report {
    let (record, manifests) = fixture::finished();
    build(&record, &manifests)
}

/// The page is written so that an XML parser reads it too: then every element is closed and every text escaped.
fn elements(page: &str) -> Vec<(String, Vec<(String, String)>)> {
    let page = page.strip_prefix("<!DOCTYPE html>").unwrap();
    let mut reader = Reader::from_str(page);
    let mut found = vec![];
    loop {
        match reader.read_event().unwrap_or_else(|e| panic!("not well formed at byte {}: {e}", reader.buffer_position())) {
            Event::Start(tag) | Event::Empty(tag) => {
                let name = tag.name().as_ref().to_owned();
                let attributes = tag.attributes().map(|a| a.unwrap());
                let attributes = attributes.map(|a| (a.key.as_ref().to_owned(), a.value.to_string()));
                found.push((name, attributes.collect()));
            }
            Event::Eof => return found,
            _ => {}
        }
    }
}

#[test]
fn the_page_is_well_formed_and_needs_nothing_else() {
    let page = render(&report());
    let elements = elements(&page);
    let count = |name: &str| elements.iter().filter(|(element, _)| element == name).count();
    // A curve and a time bar for each stage, and the marks of the one exam with choices.
    assert_eq!(count("svg"), 5);
    for forbidden in ["script", "link", "img", "iframe", "object", "image", "use"] {
        assert_eq!(count(forbidden), 0, "{forbidden}");
    }
    for (element, attributes) in &elements {
        for (key, value) in attributes {
            assert!(!key.starts_with("on") && key != "src" && key != "href", "<{element} {key}={value}>");
        }
    }
    assert!(!page.contains("url(") && !page.contains("@import") && !page.contains("http"), "something is fetched");
}

#[test]
fn every_picture_has_a_title_and_ids_are_unique() {
    let page = render(&report());
    let elements = elements(&page);
    let ids: Vec<&String> = elements.iter().flat_map(|(_, a)| a.iter().filter(|(key, _)| key == "id").map(|(_, value)| value)).collect();
    let mut unique = ids.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(ids.len(), unique.len());
    for (_, attributes) in elements.iter().filter(|(name, _)| name == "svg") {
        let get = |key: &str| attributes.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()).unwrap_or_default();
        assert_eq!(get("role"), "img");
        for label in get("aria-labelledby").split(' ') {
            assert!(unique.iter().any(|id| *id == label), "{label} is nowhere");
        }
    }
}

#[test]
fn text_from_outside_stays_text() {
    let mut report = report();
    let hostile = "<script>alert('x')</script> \" onload=\"y & \u{1b}[31m\u{0}";
    report.description = hostile.into();
    report.reason = Some(hostile.into());
    report.gates[0].evidence = hostile.into();
    report.failures[0].fault = hostile.into();
    report.stages[0].exams[0].protocol = hostile.into();
    report.stages[0].checkpoints[0].manifest = hostile.into();
    report.corpora.values_mut().for_each(|c| c.sources[0].path = hostile.into());
    let page = render(&report);
    assert!(!page.contains("<script") && !page.contains("onload=\"") && !page.contains('\u{1b}') && !page.contains('\u{0}'));
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;"));
    elements(&page);
}

#[test]
fn marks_show_doubt_baseline_and_chance() {
    let page = render(&report());
    assert_eq!(page.matches("class=\"whisker\"").count(), 4);
    assert_eq!(page.matches("class=\"baseline\"").count(), 4);
    assert_eq!(page.matches("class=\"bar chance\"").count(), 2, "the general stage is at chance, in both variants");
}

#[test]
fn a_report_with_hardly_anything_in_it_is_a_page_too() {
    let mut report = report();
    report.stages.iter_mut().for_each(|stage| {
        stage.losses.clear();
        stage.exams.clear();
        stage.checkpoints.clear();
        stage.time = None;
    });
    (report.gates, report.failures, report.quantized) = (vec![], vec![], vec![]);
    report.corpora.clear();
    assert!(elements(&render(&report)).iter().all(|(name, _)| name != "svg"));
    report.stages[0].losses = vec![osler_core::report::LossPoint { step: 0, loss: f64::NAN, grad_norm: 0.0, lr: 0.0 }];
    elements(&render(&report));
}
