//! The two exams, in MedMCQA's official JSON Lines form: the same facts asked in words of the training text (`seen`), and in
//! words that are kept from it (`unseen`).

use crate::phrases::{SEEN, UNSEEN};
use crate::records::Library;
use crate::rng::Rng;
use crate::world::{Relation, World};
use std::fmt::Write;

/// Both exams as text, `seen` first. Question `k` of one is about the same fact as question `k` of the other.
pub(crate) fn write(seed: u64, world: &World, library: &Library, questions: usize) -> (String, String) {
    let mut rng = Rng::stream(seed, "exams");
    let facts = facts(world.diseases.len(), questions, &mut rng);
    let seen = sheet("seen", world, &facts, &mut rng, |disease, relation, rng| {
        // The library wrote at least one phrasing for each fact; 0 can only be reached by breaking that rule.
        let phrasings = &library.seen[disease][relation.index()];
        SEEN[relation.index()][phrasings.get(rng.below(phrasings.len())).copied().unwrap_or(0)]
    });
    let unseen = sheet("unseen", world, &facts, &mut rng, |_, relation, rng| UNSEEN[relation.index()][rng.below(4)]);
    (seen, unseen)
}

/// Relations take turns; within a relation, diseases in random order.
fn facts(diseases: usize, questions: usize, rng: &mut Rng) -> Vec<(usize, Relation)> {
    let orders = Relation::ALL.map(|_| {
        let mut order: Vec<usize> = (0..diseases).collect();
        rng.shuffle(&mut order);
        order
    });
    (0..questions).map(|at| (orders[at % 4][at / 4], Relation::ALL[at % 4])).collect()
}

fn sheet(
    name: &str,
    world: &World,
    facts: &[(usize, Relation)],
    rng: &mut Rng,
    phrasing: impl Fn(usize, Relation, &mut Rng) -> &'static str,
) -> String {
    let mut golds: Vec<usize> = (0..facts.len()).map(|at| at % 4).collect();
    rng.shuffle(&mut golds);
    let mut lines = String::new();
    for (at, (&(disease, relation), gold)) in facts.iter().zip(golds).enumerate() {
        let about = &world.diseases[disease];
        let question = about.fill(phrasing(disease, relation, rng));
        let mut options = world.wrong(about, relation, 3, rng);
        options.insert(gold, about.fact(relation).to_owned());
        let text = |text: &str| serde_json::Value::from(text).to_string();
        // The keys are written by hand: their order must not hang on how serde_json was built.
        let _ = writeln!(
            lines,
            "{{\"question\":{},\"exp\":null,\"cop\":{},\"opa\":{},\"opb\":{},\"opc\":{},\"opd\":{},\
             \"subject_name\":\"Invented medicine (no medical fact)\",\"topic_name\":{},\"id\":\"osler-demo-{name}-{at:04}\",\
             \"choice_type\":\"single\"}}",
            text(&question),
            gold + 1,
            text(&options[0]),
            text(&options[1]),
            text(&options[2]),
            text(&options[3]),
            text(relation.topic()),
        );
    }
    lines
}
