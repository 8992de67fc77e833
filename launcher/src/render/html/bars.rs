//! Bars as SVG: the marks of one exam with their doubt and the majority answer, and a stage's time by cause.

use super::markup::{Html, escape};
use super::scale::{Scale, number};
use crate::render::causes;
use crate::render::exams::{doubt, verdict};
use crate::show;
use osler_core::job::ExamSummary;
use osler_core::report::TimeReport;
use osler_core::spec::Variant;

const WIDTH: f64 = 860.0;
const LEFT: f64 = 170.0;
const RIGHT: f64 = 172.0;
const TOP: f64 = 8.0;
const ROW: f64 = 24.0;
/// Between one stage's rows and the next one's.
const GAP: f64 = 8.0;
const BAR: f64 = 14.0;
const BOTTOM: f64 = 34.0;

/// The marks of one exam, a row for each stage and variant.
pub fn marks(task: &str, rows: &[(&str, &ExamSummary)]) -> Html {
    let rows: Vec<_> = rows.iter().filter_map(|(stage, exam)| Some((*stage, *exam, exam.accuracy?))).collect();
    if rows.is_empty() {
        return Html::default();
    }
    let new_stage = |i: usize| i > 0 && rows.get(i - 1).map(|row| row.0) != rows.get(i).map(|row| row.0);
    let gaps = (0..rows.len()).filter(|i| new_stage(*i)).count();
    let floor = TOP + ROW * rows.len() as f64 + GAP * gaps as f64;
    let x = Scale::linear(0.0, 100.0, LEFT, WIDTH - RIGHT);
    let mut svg = Html::default();
    let id = format!("exam-{task}");
    svg.push(format_args!("<svg viewBox=\"0 0 {WIDTH} {}\" role=\"img\" aria-labelledby=\"{1}-t {1}-d\">\n", floor + BOTTOM, escape(&id)));
    svg.push(format_args!("<title id=\"{}-t\">Accuracy in exam {}</title>\n", escape(&id), escape(task)));
    let told: Vec<String> = rows.iter().map(|(stage, exam, accuracy)| format!("{stage}, {}: {accuracy:.1} %", exam.variant)).collect();
    svg.push(format_args!("<desc id=\"{}-d\">{}</desc>\n", escape(&id), escape(told.join("; "))));
    for tick in [0.0, 25.0, 50.0, 75.0, 100.0] {
        let at = x.place(tick);
        svg.push(format_args!("<path class=\"grid\" d=\"M{at:.1} {TOP}V{floor}\"/>"));
        svg.push(format_args!(
            "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{} %</text>\n",
            floor + 18.0,
            number(tick)
        ));
    }
    let mut top = TOP;
    for (i, (stage, exam, accuracy)) in rows.iter().enumerate() {
        top += if new_stage(i) { GAP } else { 0.0 };
        row(&mut svg, &x, top, stage, exam, *accuracy);
        top += ROW;
    }
    svg.push(format_args!("</svg>\n"));
    Html::of(format_args!("<figure>{svg}</figure>\n"))
}

fn row(svg: &mut Html, x: &Scale, top: f64, stage: &str, exam: &ExamSummary, accuracy: f64) {
    let (middle, bar_top) = (top + ROW / 2.0, top + (ROW - BAR) / 2.0);
    let class = match (verdict(exam), exam.variant) {
        (Some(_), _) => "bar chance",
        (None, Variant::Full) => "bar full",
        (None, Variant::Quantized(_)) => "bar quantized",
    };
    let (start, end) = (x.place(0.0), x.place(accuracy));
    svg.push(format_args!(
        "<text class=\"row\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} · {}</text>\n",
        LEFT - 10.0,
        middle + 4.0,
        escape(cut(stage)),
        escape(exam.variant)
    ));
    svg.push(format_args!(
        "<rect class=\"{class}\" x=\"{start:.1}\" y=\"{bar_top:.1}\" width=\"{:.1}\" height=\"{BAR}\" rx=\"2\"/>\n",
        (end - start).max(0.0)
    ));
    if let Some((low, high)) = doubt(exam) {
        let (low, high) = (x.place(low), x.place(high));
        svg.push(format_args!(
            "<path class=\"whisker\" d=\"M{low:.1} {middle:.1}H{high:.1}M{low:.1} {0:.1}v8M{high:.1} {0:.1}v8\"/>\n",
            middle - 4.0
        ));
    }
    if let Some(baseline) = exam.majority_baseline {
        svg.push(format_args!(
            "<path class=\"baseline\" d=\"M{0:.1} {1:.1}V{2:.1}\"><title>majority answer: {baseline:.2} %</title></path>\n",
            x.place(baseline),
            top + 2.0,
            top + ROW - 2.0
        ));
    }
    let note = verdict(exam).map(|v| format!("  {v}")).unwrap_or_default();
    let stderr = exam.stderr.map(|s| format!(" ± {s:.1}")).unwrap_or_default();
    svg.push(format_args!(
        "<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{accuracy:.1}{stderr}<tspan class=\"note\">{}</tspan></text>\n",
        WIDTH - RIGHT + 12.0,
        middle + 4.0,
        escape(note)
    ));
}

/// A name that fits beside the bars; the table has it whole.
fn cut(name: &str) -> String {
    const MOST: usize = 14;
    if name.chars().count() <= MOST { name.to_owned() } else { name.chars().take(MOST - 1).chain(['…']).collect() }
}

/// A stage's wall time as one bar, with its legend.
pub fn time(stage: &str, time: &TimeReport) -> Html {
    if time.wall <= 0.0 {
        return Html::default();
    }
    const HEIGHT: f64 = 18.0;
    let id = format!("time-{stage}");
    let causes = causes(time);
    // Rounding and overlapping phases must not push a bar out of the picture.
    let whole: f64 = causes.iter().map(|(_, seconds)| seconds.max(0.0)).sum::<f64>().max(time.wall);
    let mut svg = Html::default();
    svg.push(format_args!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{0}-t\">\n", escape(&id)));
    svg.push(format_args!("<title id=\"{}-t\">Time of stage {} by cause</title>\n", escape(&id), escape(stage)));
    let mut at = 0.0;
    let mut legend = Html::default();
    for (i, (cause, seconds)) in causes.iter().enumerate().filter(|(_, (_, seconds))| *seconds > 0.0) {
        let width = seconds.max(0.0) / whole * WIDTH;
        let share = show::percent(seconds / time.wall);
        svg.push(format_args!("<rect class=\"cause c{i}\" x=\"{at:.2}\" y=\"0\" width=\"{width:.2}\" height=\"{HEIGHT}\"><title>{cause}: {share}</title></rect>\n"));
        legend.push(format_args!("<li><span class=\"swatch c{i}\"></span>{cause} <b>{share}</b></li>"));
        at += width;
    }
    svg.push(format_args!("</svg>\n"));
    Html::of(format_args!(
        "<figure>{svg}<ul class=\"legend\">{legend}</ul><figcaption>{} wall time, {} tokens a second from the first step to the last, {} while stepping</figcaption></figure>\n",
        show::duration(time.wall),
        show::short(time.tokens_per_second),
        show::short(time.tokens_per_second_stepping)
    ))
}
