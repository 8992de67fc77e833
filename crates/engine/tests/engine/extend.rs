//! A larger vocabulary than the imported one: old rows byte for byte, new ones by the named rule.

use crate::support::{Random, VOCAB, bert, gemma, gpt2, llama, options, qwen2, trainer};
use osler_core::spec::{ExtendRule, ModelSpec};
use osler_engine::hf::Extended;
use osler_engine::models::params::{parameters, vocabulary_tensors};
use osler_engine::source::TensorSource;
use osler_model::Rows;

const NEW: usize = VOCAB + 6;

fn grown() -> Rows {
    Rows { held: VOCAB, total: NEW, made: VOCAB..NEW, untrained: 0 }
}

fn read_all(spec: &ModelSpec, rule: ExtendRule, seed: u64) -> Vec<(String, Vec<usize>, Vec<f32>)> {
    let mut random = Keyed;
    let mut extended = Extended::new(&mut random, spec, grown(), rule, seed);
    let read = |p: osler_engine::models::params::Param| {
        let values = extended.read(&p.name, &p.shape).unwrap();
        (p.name, p.shape, values)
    };
    parameters(spec, NEW).unwrap().into_iter().map(read).collect()
}

/// The same values for a name whenever it is read.
struct Keyed;

impl TensorSource for Keyed {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, osler_engine::EngineError> {
        Random(name.bytes().map(u64::from).sum()).read(name, shape)
    }
}

#[test]
fn old_rows_stay_byte_for_byte_in_every_family() {
    for spec in [llama(2, false), llama(2, true), qwen2(), gemma(), gpt2(), bert()] {
        let grown = vocabulary_tensors(&spec);
        for rule in [ExtendRule::Mean, ExtendRule::Normal, ExtendRule::Zero] {
            for (name, shape, values) in read_all(&spec, rule, 3) {
                let mut old_shape = shape.clone();
                if grown.contains(&name.as_str()) {
                    assert_eq!(shape[0], NEW);
                    old_shape[0] = VOCAB;
                }
                let old = Keyed.read(&name, &old_shape).unwrap();
                let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(&values[..old.len()]), bits(&old), "{name}");
            }
        }
    }
}

#[test]
fn new_rows_follow_the_rule() {
    let spec = llama(2, false);
    let new = |rule, seed, tensor: usize| {
        let (_, shape, values) = read_all(&spec, rule, seed).remove(tensor);
        let width = shape[1];
        (values[..VOCAB * width].to_vec(), values[VOCAB * width..].to_vec(), width)
    };
    let head = parameters(&spec, NEW).unwrap().len() - 1;
    for tensor in [0, head] {
        assert!(new(ExtendRule::Zero, 3, tensor).1.iter().all(|v| *v == 0.0));
        let (_, normal, _) = new(ExtendRule::Normal, 3, tensor);
        let deviation = (normal.iter().map(|v| v * v).sum::<f32>() / normal.len() as f32).sqrt();
        assert!((deviation / spec.init_std as f32 - 1.0).abs() < 0.15, "{deviation}");
        let (old, mean, width) = new(ExtendRule::Mean, 3, tensor);
        for (at, value) in mean.iter().enumerate() {
            let column: f64 = old.iter().skip(at % width).step_by(width).map(|v| f64::from(*v)).sum::<f64>() / VOCAB as f64;
            assert!((f64::from(*value) - column).abs() < 6.0 * 0.01 * spec.init_std, "{value} {column}");
        }
        assert_ne!(mean[..width], mean[width..2 * width], "no two new tokens are the same");
        assert_eq!(mean, new(ExtendRule::Mean, 3, tensor).1);
        assert_ne!(mean, new(ExtendRule::Mean, 4, tensor).1, "another seed, another noise");
    }
}

#[test]
fn a_trainer_goes_on_with_the_larger_vocabulary() {
    let spec = qwen2();
    let mut random = Random(5);
    let mut extended = Extended::new(&mut random, &spec, grown(), ExtendRule::Mean, 3);
    let mut options = options(spec, 2, 2, 1e-3);
    options.vocab = NEW;
    let mut trainer = trainer(options);
    trainer.load_weights_only(&mut extended).unwrap();
    let row: Vec<u32> = (0..65).map(|i| (VOCAB as u32 + i % 6).min(NEW as u32 - 1)).collect();
    assert!(trainer.step(&[&row, &row], 0).unwrap().loss.is_finite());
}

#[test]
fn new_tokens_in_padding_rows_are_made_from_the_trained_rows_alone() {
    let spec = llama(2, false);
    let (tokens, needed) = (VOCAB - 10, VOCAB - 4);
    for (total, made) in [(VOCAB, tokens..needed), (NEW, tokens..NEW)] {
        let mut random = Keyed;
        let rows = Rows { held: VOCAB, total, made: made.clone(), untrained: 0 };
        let mut extended = Extended::new(&mut random, &spec, rows, ExtendRule::Mean, 3);
        for param in parameters(&spec, total).unwrap().iter().filter(|p| vocabulary_tensors(&spec).contains(&p.name.as_str())) {
            let width = param.shape[1];
            let values = extended.read(&param.name, &param.shape).unwrap();
            let old = Keyed.read(&param.name, &[VOCAB, width]).unwrap();
            assert_eq!(values.len(), total * width);
            assert_eq!(values[..tokens * width], old[..tokens * width]);
            assert_eq!(
                values.get(made.end * width..).unwrap_or_default(),
                old.get(made.end * width..).unwrap_or_default(),
                "padding stays"
            );
            for column in 0..width {
                let mean = old[..tokens * width].iter().skip(column).step_by(width).map(|v| f64::from(*v)).sum::<f64>() / tokens as f64;
                for row in made.clone() {
                    let value = f64::from(values[row * width + column]);
                    assert!((value - mean).abs() < 6.0 * 0.01 * spec.init_std, "row {row}: {value} {mean}");
                }
            }
        }
    }
}
