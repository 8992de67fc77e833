//! The loss curve of a stage as SVG, with its published checkpoints marked on the axis.

use super::markup::{Html, escape};
use super::scale::{Scale, number};
use crate::show;
use osler_core::report::{LossPoint, StageReport};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 290.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = 64.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 44.0;
/// More points than pixels would only make the file large.
const MOST_POINTS: usize = 640;

/// Nothing for a stage without a finite loss.
pub fn curve(stage: &StageReport) -> Html {
    let points: Vec<LossPoint> = stage.losses.iter().copied().filter(|p| p.loss.is_finite()).collect();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return Html::default() };
    let low = points.iter().map(|p| p.loss).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p.loss).fold(f64::NEG_INFINITY, f64::max);
    // A loss stands before its update, so the first one is step 0's.
    let x = Scale::linear(0.0, stage.planned_steps.max(last.step + 1) as f64, LEFT, WIDTH - RIGHT);
    let y = Scale::fitting(low, high, HEIGHT - BOTTOM, TOP);

    let mut svg = Html::default();
    let id = format!("loss-{}", stage.name);
    let kind = if y.is_log() { "logarithmic" } else { "linear" };
    svg.push(format_args!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"{0}-t {0}-d\">\n", escape(&id)));
    svg.push(format_args!("<title id=\"{}-t\">Loss of stage {}</title>\n", escape(&id), escape(&stage.name)));
    svg.push(format_args!(
        "<desc id=\"{}-d\">From {:.3} at step {} to {:.3} at step {}; {kind} axis.</desc>\n",
        escape(&id),
        first.loss,
        first.step,
        last.loss,
        last.step
    ));
    axes(&mut svg, &x, &y);
    for checkpoint in &stage.checkpoints {
        let at = x.place(checkpoint.step as f64);
        let kept = if checkpoint.retired { "mark" } else { "mark kept" };
        svg.push(format_args!(
            "<path class=\"{kept}\" d=\"M{at:.1} {0:.1}v-7\"><title>checkpoint at step {1}</title></path>\n",
            HEIGHT - BOTTOM,
            checkpoint.step
        ));
    }
    let mut path = String::new();
    for (i, p) in thinned(&points).iter().enumerate() {
        let verb = if i == 0 { 'M' } else { 'L' };
        path.push_str(&format!("{verb}{:.1} {:.1}", x.place(p.step as f64), y.place(p.loss)));
    }
    svg.push(format_args!("<path class=\"curve\" d=\"{path}\"/>\n"));
    let (end_x, end_y) = (x.place(last.step as f64), y.place(last.loss));
    svg.push(format_args!("<circle class=\"end\" cx=\"{end_x:.1}\" cy=\"{end_y:.1}\" r=\"3\"/>\n"));
    svg.push(format_args!("<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{:.3}</text>\n</svg>\n", end_x + 8.0, end_y + 4.0, last.loss));
    let caption = if y.is_log() { "Loss by step, logarithmic axis" } else { "Loss by step" };
    Html::of(format_args!(
        "<figure>{svg}<figcaption>{caption}. Ticks on the axis are published checkpoints; the strong ones are kept.</figcaption></figure>\n"
    ))
}

fn axes(svg: &mut Html, x: &Scale, y: &Scale) {
    for tick in y.ticks(5) {
        let at = y.place(tick);
        svg.push(format_args!("<path class=\"grid\" d=\"M{LEFT} {at:.1}H{:.1}\"/>", WIDTH - RIGHT));
        svg.push(format_args!(
            "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n",
            LEFT - 8.0,
            at + 4.0,
            number(tick)
        ));
    }
    let floor = HEIGHT - BOTTOM;
    svg.push(format_args!("<path class=\"axis\" d=\"M{LEFT} {floor}H{:.1}\"/>\n", WIDTH - RIGHT));
    for tick in x.ticks(6) {
        let at = x.place(tick);
        svg.push(format_args!(
            "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            floor + 18.0,
            show::short(tick)
        ));
    }
    svg.push(format_args!(
        "<text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">step</text>\n",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 8.0
    ));
}

/// Keeps the lowest and the highest point of every stretch, so that a spike cannot vanish, and the two ends.
fn thinned(points: &[LossPoint]) -> Vec<LossPoint> {
    if points.len() <= MOST_POINTS {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(MOST_POINTS / 2);
    let mut kept: Vec<LossPoint> = vec![];
    kept.extend(points.first());
    for chunk in points.chunks(stretch) {
        let low = chunk.iter().min_by(|a, b| a.loss.total_cmp(&b.loss));
        let high = chunk.iter().max_by(|a, b| a.loss.total_cmp(&b.loss));
        kept.extend(low.into_iter().chain(high));
    }
    kept.extend(points.last());
    kept.sort_by_key(|p| p.step);
    kept.dedup_by_key(|p| p.step);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spike_survives_thinning() {
        let mut points: Vec<LossPoint> = (0..10_000).map(|step| LossPoint { step, loss: 2.0, grad_norm: 1.0, lr: 0.1 }).collect();
        points[4321].loss = 9.0;
        let kept = thinned(&points);
        assert!(kept.len() <= MOST_POINTS + 2);
        assert!(kept.iter().any(|p| p.step == 4321));
        assert_eq!((kept[0].step, kept.last().unwrap().step), (0, 9_999));
    }
}
