//! Inventing names: pronounceable, and nothing that medicine knows.
//! Names are made from syllables; a name is refused when it is a real word of the trade, when it contains another name or is
//! contained in one, or when it starts like another of its kind (such pairs would be hard to tell apart for a small tokenizer).

use crate::rng::Rng;

const ONSETS: [&str; 20] = ["b", "d", "f", "g", "h", "k", "l", "m", "n", "p", "r", "s", "t", "v", "z", "br", "dr", "kr", "tr", "gl"];
const VOWELS: [&str; 5] = ["a", "e", "i", "o", "u"];
const MIDDLES: [&str; 16] = ["b", "d", "g", "l", "m", "n", "r", "v", "z", "lv", "rd", "mb", "sk", "lt", "nd", "rv"];
const DISEASE_ENDS: [&str; 12] = ["osk", "ark", "ile", "oque", "und", "elm", "ivar", "onne", "esk", "alo", "umi", "ett"];
const DRUG_ENDS: [&str; 10] = ["avine", "ubrin", "iquil", "ombra", "oxel", "elide", "uvex", "orda", "imole", "astrine"];
const SYMPTOM_ENDS: [&str; 6] = ["osmia", "ingia", "urne", "elsy", "obria", "ache"];
const ORGAN_ENDS: [&str; 10] = ["men", "vane", "dula", "rix", "lobe", "pora", "sack", "tune", "ginum", "brel"];
/// What diseases are called besides their own name.
const DISEASE_KINDS: [&str; 6] = ["fever", "syndrome", "disease", "palsy", "anaemia", "ataxia"];
/// Beginnings of real names that the syllables can form.
const REAL: [&str; 19] = [
    "medul", "mandib", "brand", "drama", "drag", "grave", "pomp", "tard", "kore", "nova", "fabr", "gland", "glob", "lobe", "bronc",
    "turner", "kruk", "marb", "rora",
];

/// Gives out names and remembers them all.
pub(crate) struct Namer {
    rng: Rng,
    taken: Vec<String>,
}

impl Namer {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, taken: Vec::new() }
    }

    /// "Velonne fever", "Draskile palsy".
    pub(crate) fn diseases(&mut self, count: usize) -> Vec<String> {
        let stems = self.distinct(count, 4, |rng| capitalized(&stem(rng, &DISEASE_ENDS)));
        stems.into_iter().map(|stem| format!("{stem} {}", self.rng.pick(&DISEASE_KINDS))).collect()
    }

    /// "zulvubrin".
    pub(crate) fn drugs(&mut self, count: usize) -> Vec<String> {
        self.distinct(count, 4, |rng| stem(rng, &DRUG_ENDS))
    }

    /// "KELVA3".
    pub(crate) fn genes(&mut self, count: usize) -> Vec<String> {
        let letters = self.distinct(count, 4, |rng| stem(rng, &VOWELS).to_uppercase());
        letters.into_iter().map(|letters| format!("{letters}{}", self.rng.between(2, 9))).collect()
    }

    /// "drosmia".
    pub(crate) fn symptoms(&mut self, count: usize) -> Vec<String> {
        self.distinct(count, 4, |rng| stem(rng, &SYMPTOM_ENDS))
    }

    /// "tolmen".
    pub(crate) fn organs(&mut self, count: usize) -> Vec<String> {
        self.distinct(count, 3, |rng| format!("{}{}{}", rng.pick(&ONSETS), rng.pick(&VOWELS), rng.pick(&ORGAN_ENDS)))
    }

    /// Last names of authors.
    pub(crate) fn people(&mut self, count: usize) -> Vec<String> {
        self.distinct(count, 4, |rng| capitalized(&stem(rng, &["ic", "aro", "ensa", "ulin", "ey"])))
    }

    /// The rule on beginnings gives way after many misses, so that a large world ends too; equal names never do.
    fn distinct(&mut self, count: usize, start: usize, make: impl Fn(&mut Rng) -> String) -> Vec<String> {
        let mut made: Vec<String> = Vec::with_capacity(count);
        let mut misses = 0_usize;
        while made.len() < count {
            let name = make(&mut self.rng);
            let lower = name.to_lowercase();
            let strict = misses < 200 * count;
            let clashes = self.taken.iter().any(|other| *other == lower || other.contains(&lower) || lower.contains(other.as_str()))
                || REAL.iter().any(|real| lower.starts_with(real))
                || (strict && made.iter().any(|other| other.to_lowercase().bytes().take(start).eq(lower.bytes().take(start))));
            if clashes {
                misses += 1;
                continue;
            }
            self.taken.push(lower);
            made.push(name);
        }
        made
    }
}

fn stem(rng: &mut Rng, ends: &[&str]) -> String {
    format!("{}{}{}{}", rng.pick(&ONSETS), rng.pick(&VOWELS), rng.pick(&MIDDLES), rng.pick(ends))
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Namer;
    use crate::rng::Rng;
    use std::collections::BTreeSet;

    #[test]
    fn four_hundred_diseases_and_all_other_names_differ() {
        for seed in 0..5 {
            let mut namer = Namer::new(Rng::stream(seed, "names"));
            let mut all = namer.diseases(400);
            all.extend(namer.drugs(48));
            all.extend(namer.genes(48));
            all.extend(namer.symptoms(48));
            all.extend(namer.organs(48));
            let distinct: BTreeSet<&String> = all.iter().collect();
            assert_eq!(distinct.len(), 400 + 4 * 48, "seed {seed}");
        }
    }
}
