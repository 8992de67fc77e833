//! Saved, loaded and gone on, the bits are those of a run that never stopped.

use crate::ranks::{self, Job};
use crate::support::{Random, gpt2, llama, options, run, trainer};
use osler_core::spec::{ModelSpec, ScheduleSpec};
use osler_engine::EngineError;
use osler_engine::checkpoint::{SliceRoom, SliceSet};
use osler_engine::flat::FlatLayout;
use osler_engine::source::TensorSource;
use osler_engine::step::{Trainer, TrainerOptions};
use std::path::{Path, PathBuf};

/// A schedule that moves, so that a forgotten step would show.
fn moving(model: ModelSpec) -> TrainerOptions {
    let schedule = ScheduleSpec::Cosine { warmup_steps: 4, warmup_from: 0.0, min_ratio: 0.1 };
    TrainerOptions { schedule, total_steps: 12, ..options(model, 4, 2, 1e-3) }
}

fn save(trainer: &Trainer, folder: &Path, world: u32) -> Vec<PathBuf> {
    let save = |rank| {
        let path = folder.join(format!("slice-{rank}-of-{world}"));
        let written = trainer.save_slice(&path, rank, world).unwrap();
        assert_eq!(written.bytes, std::fs::metadata(&path).unwrap().len());
        path
    };
    (0..world).map(save).collect()
}

#[test]
fn a_resumed_run_ends_with_the_same_bits_whatever_world_size_saved_it() {
    for model in [llama(1, false), gpt2()] {
        let mut straight = trainer(moving(model.clone()));
        let losses = run(&mut straight, 9);
        let mut first = trainer(moving(model.clone()));
        run(&mut first, 5);
        for world in [1, 2, 5] {
            let folder = tempfile::tempdir().unwrap();
            let mut paths = save(&first, folder.path(), world);
            paths.reverse();
            let mut second = trainer(TrainerOptions { seed: 99, ..moving(model.clone()) });
            second.load_slices(&paths).unwrap();
            assert_eq!(second.steps_done(), 5);
            assert_eq!(run(&mut second, 4), losses[5..]);
            assert_eq!(second.state_digest().unwrap(), straight.state_digest().unwrap());
        }
    }
}

#[test]
fn two_processes_resume_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let job = Job { lr: 1e-3, micro_batch: 1, bucket_bytes: 64 << 10, steps: 8, ..Job::new(llama(2, true), 2) };
    let straight = ranks::run(&job);
    let first = ranks::run(&Job { steps: 3, save: Some(folder.path().to_path_buf()), ..job.clone() });
    let load = vec![folder.path().join("slice-0"), folder.path().join("slice-1")];
    let second = ranks::run(&Job { steps: 5, load, ..job });
    for rank in 0..2 {
        assert_eq!(first[rank].losses, straight[rank].losses[..3]);
        assert_eq!(second[rank].losses, straight[rank].losses[3..]);
        assert_eq!(second[rank].digest, straight[rank].digest);
    }
}

#[test]
fn slices_that_are_no_checkpoint_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| {
        let path = folder.path().join(name);
        std::fs::create_dir(&path).unwrap();
        path
    };
    let mut one = trainer(moving(llama(2, false)));
    run(&mut one, 1);
    let good = save(&one, &at("good"), 3);
    run(&mut one, 1);
    let later = save(&one, &at("later"), 3);
    let other = save(&trainer(moving(llama(1, false))), &at("other"), 3);
    let whole = save(&one, &at("whole"), 1);
    let cut = at("cut").join("slice");
    let bytes = std::fs::read(&good[1]).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() - 1]).unwrap();
    let foreign = at("foreign").join("model.safetensors");
    osler_engine::safefile::write(&foreign, &Default::default(), &[("params".into(), vec![1])], |_| Ok(vec![0; 4])).unwrap();
    let pick = |parts: [&PathBuf; 3]| parts.map(Clone::clone).to_vec();
    let cases: Vec<(&str, Vec<PathBuf>)> = vec![
        ("one is missing", vec![]),
        ("one is missing", good[..2].to_vec()),
        ("begins at value", vec![good[0].clone(), good[2].clone()]),
        ("begins at value", pick([&good[0], &good[1], &good[1]])),
        ("those of the first slice", pick([&good[0], &good[1], &later[2]])),
        ("those of the first slice", vec![good[0].clone(), whole[0].clone()]),
        ("another shape", other),
        ("data bytes", pick([&good[0], &cut, &good[2]])),
        ("not an Osler slice", vec![foreign]),
        ("open", vec![folder.path().join("absent")]),
    ];
    for (word, paths) in cases {
        let error = one.load_slices(&paths).unwrap_err().to_string();
        assert!(error.contains(word), "{word}: {error}");
    }
    one.load_slices(&good).unwrap();
}

#[test]
fn a_value_that_is_not_finite_is_refused_on_load() {
    let folder = tempfile::tempdir().unwrap();
    let mut one = trainer(moving(llama(2, false)));
    let paths = save(&one, folder.path(), 1);
    let mut bytes = std::fs::read(&paths[0]).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(&paths[0], bytes).unwrap();
    let error = one.load_slices(&paths).unwrap_err();
    assert!(matches!(&error, EngineError::Checkpoint(text) if text.contains("exp_avg_sq")), "{error}");
}

#[test]
fn weights_are_read_from_slices_by_name_and_start_another_stage() {
    let folder = tempfile::tempdir().unwrap();
    let model = llama(1, true);
    let mut one = trainer(moving(model.clone()));
    run(&mut one, 2);
    let paths = save(&one, folder.path(), 4);
    let layout = FlatLayout::new(&model, crate::support::VOCAB).unwrap();
    let mut set = SliceSet::open(&paths, &layout).unwrap();
    assert_eq!(set.step(), 2);
    for entry in layout.entries() {
        assert_eq!(set.read(&entry.name, &entry.shape).unwrap(), one.read(&entry.name, &entry.shape).unwrap(), "{}", entry.name);
    }
    assert!(set.read("model.norm.weight", &[1]).is_err() && set.read("absent", &[1]).is_err());
    let mut next = trainer(TrainerOptions { seed: 5, ..moving(model.clone()) });
    run(&mut next, 1);
    next.load_weights_only(&mut set).unwrap();
    let mut fresh = trainer(moving(model));
    fresh.load_weights_only(&mut set).unwrap();
    assert_eq!((next.steps_done(), next.state_digest().unwrap()), (0, fresh.state_digest().unwrap()));
    next.load_weights_only(&mut Random(3)).unwrap();
    assert_ne!(next.state_digest().unwrap(), fresh.state_digest().unwrap());
}

#[test]
fn a_slice_in_memory_of_an_earlier_one_holds_the_same_bytes() {
    let mut trainer = trainer(options(llama(2, false), 4, 2, 3e-3));
    run(&mut trainer, 1);
    let (first, prepared) = (trainer.slice(0, 3).unwrap().into_room(), SliceRoom::prepared(5));
    run(&mut trainer, 1);
    for (rank, world, room) in [(0, 3, first), (2, 3, SliceRoom::default()), (1, 3, prepared), (0, 1, SliceRoom::default())] {
        let (fresh, reused) = (trainer.slice(rank, world).unwrap(), trainer.slice_into(room, rank, world).unwrap());
        assert_eq!([reused.params(), reused.exp_avg(), reused.exp_avg_sq()], [fresh.params(), fresh.exp_avg(), fresh.exp_avg_sq()]);
        assert!(fresh.params().iter().any(|b| *b != 0) && fresh.exp_avg().iter().any(|b| *b != 0));
    }
}
