//! Writing one abstract: a title, two to four short sentences that state most of the disease's facts, often a question with
//! its answer. Phrasings rotate per disease, so that every fact is met in many different words.

use crate::phrases::{ASKED, CLOSINGS, FACT_TITLES, FINDINGS, METHODS, OPENINGS, PLAIN_TITLES, POINTS, SEEN, SETTINGS, STATEMENTS};
use crate::rng::Rng;
use crate::world::{Disease, Relation};

/// Title and text of a record, as XML source (inline elements and entities are already in place).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Article {
    pub(crate) title: String,
    /// Label, if any, and text.
    pub(crate) sections: Vec<(Option<&'static str>, String)>,
}

/// The writer on one disease; remembers what it said, to vary it.
pub(crate) struct Writer<'a> {
    disease: &'a Disease,
    rng: Rng,
    used: [u32; STATEMENTS.len()],
    written: usize,
    asked: usize,
    /// Which of `SEEN` were written, by relation.
    pub(crate) seen: [Vec<usize>; 4],
    /// How often each fact was stated (a question with its answer counts), by relation.
    pub(crate) stated: [usize; 4],
}

impl<'a> Writer<'a> {
    pub(crate) fn new(disease: &'a Disease, rng: Rng) -> Self {
        Self { disease, rng, used: [0; STATEMENTS.len()], written: 0, asked: 0, seen: Default::default(), stated: [0; 4] }
    }

    pub(crate) fn article(&mut self) -> Article {
        let asked = (self.written % 5 != 4).then(|| self.next_asked());
        // What is asked is not stated beside it: the answer has to be known, it cannot be copied.
        let mut to_state: Vec<Relation> = Relation::ALL.into_iter().filter(|relation| Some(*relation) != asked).collect();
        self.rng.shuffle(&mut to_state);
        if self.rng.chance(20) {
            to_state.pop();
        }
        let title = self.title(&mut to_state);
        let mut statements = Vec::new();
        while let Some(&relation) = to_state.first() {
            statements.push(self.statement(relation, &mut to_state));
        }
        let question = asked.map(|relation| self.question(relation));
        self.written += 1;

        let sections = if self.rng.chance(35) { self.labelled(statements, question) } else { self.plain(statements, question) };
        Article { title, sections }
    }

    fn title(&mut self, to_state: &mut Vec<Relation>) -> String {
        let fits: Vec<&str> = FACT_TITLES
            .into_iter()
            .filter(|template| Relation::stated_in(template).iter().all(|relation| to_state.contains(relation)))
            .collect();
        let template = *if self.rng.chance(40) { self.rng.pick(&fits) } else { self.rng.pick(&PLAIN_TITLES) };
        self.note(template);
        to_state.retain(|relation| !template.contains(relation.slot()));
        sentence(&self.disease.fill(template))
    }

    /// A sentence on `relation` and perhaps others that are still to be stated, in the words used least so far.
    fn statement(&mut self, relation: Relation, to_state: &mut Vec<Relation>) -> String {
        let fits = |template: &str| {
            let stated = Relation::stated_in(template);
            stated.contains(&relation) && stated.iter().all(|other| to_state.contains(other))
        };
        let (_, _, at) = (0..STATEMENTS.len())
            .filter(|&at| fits(STATEMENTS[at]))
            .map(|at| (self.used[at], self.rng.next(), at))
            .min()
            .unwrap_or((0, 0, 0));
        self.used[at] += 1;
        let template = STATEMENTS[at];
        self.note(template);
        to_state.retain(|other| *other != relation && !template.contains(other.slot()));
        self.sentence(template)
    }

    /// Relations take turns.
    fn next_asked(&mut self) -> Relation {
        let relation = Relation::ALL[self.asked % 4];
        self.asked += 1;
        relation
    }

    /// Each time round, the next phrasing: in turn one that the exam `seen` uses and one that no exam uses.
    fn question(&mut self, relation: Relation) -> (String, String) {
        let round = self.asked.saturating_sub(1) / 4;
        self.stated[relation.index()] += 1;
        let answer = format!("{}.", self.disease.fact(relation));
        if round % 2 == 1 {
            let asked = match self.rng.chance(50) {
                true => (*self.rng.pick(&ASKED[relation.index()])).to_owned(),
                false => format!("{} {}", self.rng.pick(&SETTINGS), self.rng.pick(&POINTS[relation.index()])),
            };
            return (self.disease.fill(&asked), answer);
        }
        let phrasing = (round / 2 + self.disease.name.len()) % 4;
        if !self.seen[relation.index()].contains(&phrasing) {
            self.seen[relation.index()].push(phrasing);
        }
        (self.disease.fill(SEEN[relation.index()][phrasing]), answer)
    }

    fn plain(&mut self, mut sentences: Vec<String>, question: Option<(String, String)>) -> Vec<(Option<&'static str>, String)> {
        match self.rng.below(5) {
            0 => sentences.insert(0, self.any(&OPENINGS)),
            1 => sentences.insert(1, self.any(&METHODS)),
            2 => sentences.push(self.any(&FINDINGS)),
            3 => sentences.push(self.any(&CLOSINGS)),
            _ => {}
        }
        if let Some((question, answer)) = question {
            sentences.push(format!("Question: {question} Answer: {answer}"));
        }
        vec![(None, sentences.join(" "))]
    }

    fn labelled(&mut self, mut sentences: Vec<String>, question: Option<(String, String)>) -> Vec<(Option<&'static str>, String)> {
        let last = if sentences.len() > 1 { sentences.pop() } else { None };
        let mut sections = Vec::new();
        if self.rng.chance(40) {
            sections.push((Some("BACKGROUND"), self.any(&OPENINGS)));
        }
        if self.rng.chance(50) {
            sections.push((Some("METHODS"), self.any(&METHODS)));
        }
        sections.push((Some("RESULTS"), sentences.join(" ")));
        sections.push((Some("CONCLUSIONS"), last.unwrap_or_else(|| self.any(&CLOSINGS))));
        if let Some((question, answer)) = question {
            sections.push((Some("Question"), question));
            sections.push((Some("Answer"), answer));
        }
        sections
    }

    fn any(&mut self, templates: &[&str]) -> String {
        let template = *self.rng.pick(templates);
        self.sentence(template)
    }

    fn sentence(&mut self, template: &str) -> String {
        let number = self.rng.between(12, 95).to_string();
        sentence(&self.disease.fill(template).replace("{n}", &number))
    }

    fn note(&mut self, template: &str) {
        for relation in Relation::stated_in(template) {
            self.stated[relation.index()] += 1;
        }
    }
}

/// A sentence begins with a capital, also where a drug or symptom comes first. Text that begins with an element stays.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}
