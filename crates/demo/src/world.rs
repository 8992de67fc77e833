//! The invented world: diseases, and four facts about each. Everything else that is written follows from it.

use crate::names::Namer;
use crate::rng::Rng;

/// How many names each kind of fact can take. Several diseases share a name, so that wrong options are as common as right ones
/// and nothing but the fact itself tells them apart. Much smaller sets are learned later: tried with 16 organs.
const VALUES: usize = 48;

/// A kind of fact, in the order of `Disease::facts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Relation {
    Drug,
    Gene,
    Symptom,
    Organ,
}

impl Relation {
    pub(crate) const ALL: [Self; 4] = [Self::Drug, Self::Gene, Self::Symptom, Self::Organ];

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    /// The slot of this fact in a template.
    pub(crate) fn slot(self) -> &'static str {
        ["{drug}", "{gene}", "{symptom}", "{organ}"][self.index()]
    }

    /// The exam's topic.
    pub(crate) fn topic(self) -> &'static str {
        ["First-line drug", "Causal gene", "Cardinal symptom", "Affected organ"][self.index()]
    }

    /// The facts that a template states.
    pub(crate) fn stated_in(template: &str) -> Vec<Self> {
        Self::ALL.into_iter().filter(|relation| template.contains(relation.slot())).collect()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Disease {
    pub(crate) name: String,
    /// By `Relation::index`.
    pub(crate) facts: [String; 4],
}

impl Disease {
    pub(crate) fn fact(&self, relation: Relation) -> &str {
        &self.facts[relation.index()]
    }

    /// The template with the disease's name and facts in its slots.
    pub(crate) fn fill(&self, template: &str) -> String {
        let mut text = template.replace("{d}", &self.name);
        for relation in Relation::ALL {
            text = text.replace(relation.slot(), self.fact(relation));
        }
        text
    }
}

pub(crate) struct World {
    pub(crate) diseases: Vec<Disease>,
    /// All values of each relation, by `Relation::index`.
    pub(crate) values: [Vec<String>; 4],
    /// Authors' names; they are in no training text.
    pub(crate) people: Vec<String>,
}

impl World {
    pub(crate) fn invent(seed: u64, diseases: usize) -> Self {
        let mut namer = Namer::new(Rng::stream(seed, "names"));
        let names = namer.diseases(diseases);
        let values = [namer.drugs(VALUES), namer.genes(VALUES), namer.symptoms(VALUES), namer.organs(VALUES)];
        let people = namer.people(60);

        let mut rng = Rng::stream(seed, "facts");
        let dealt = [0, 1, 2, 3].map(|relation: usize| deal(&values[relation], diseases, &mut rng));
        let diseases = names
            .into_iter()
            .enumerate()
            .map(|(at, name)| Disease { name, facts: [0, 1, 2, 3].map(|relation: usize| dealt[relation][at].clone()) })
            .collect();
        Self { diseases, values, people }
    }

    /// The same disease with every fact wrong: what retracted, deleted and superseded records claim. A corpus that keeps one
    /// of them teaches it.
    pub(crate) fn falsified(&self, disease: &Disease, rng: &mut Rng) -> Disease {
        let facts = Relation::ALL.map(|relation| self.wrong(disease, relation, 1, rng).remove(0));
        Disease { name: disease.name.clone(), facts }
    }

    /// `count` distinct values of the kind that are not this disease's.
    pub(crate) fn wrong(&self, disease: &Disease, relation: Relation, count: usize, rng: &mut Rng) -> Vec<String> {
        let mut others: Vec<&String> = self.values[relation.index()].iter().filter(|value| *value != disease.fact(relation)).collect();
        rng.shuffle(&mut others);
        others.into_iter().take(count).cloned().collect()
    }
}

/// Every value as often as any other (give or take one), in random order.
fn deal(values: &[String], count: usize, rng: &mut Rng) -> Vec<String> {
    let mut dealt: Vec<String> = values.iter().cycle().take(count).cloned().collect();
    rng.shuffle(&mut dealt);
    dealt
}

#[cfg(test)]
mod tests {
    use super::{Relation, World};
    use crate::rng::Rng;
    use std::collections::BTreeMap;

    #[test]
    fn values_are_shared_evenly_so_that_frequency_tells_nothing() {
        let world = World::invent(3, 150);
        for relation in Relation::ALL {
            let mut uses = BTreeMap::new();
            for disease in &world.diseases {
                *uses.entry(disease.fact(relation)).or_insert(0_usize) += 1;
            }
            let (low, high) = (uses.values().min().unwrap(), uses.values().max().unwrap());
            assert!(high - low <= 1, "{relation:?}: {low} to {high}");
        }
    }

    #[test]
    fn a_falsified_disease_shares_no_fact_with_the_true_one() {
        let world = World::invent(3, 8);
        let mut rng = Rng::stream(3, "test");
        for disease in &world.diseases {
            let wrong = world.falsified(disease, &mut rng);
            assert!(Relation::ALL.iter().all(|&relation| wrong.fact(relation) != disease.fact(relation)));
        }
    }
}
