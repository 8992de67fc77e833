//! The general corpus: short texts about everyday things, as JSON Lines with the field "text".
//! It teaches a model English sentences and the form of question and answer, but none of the invented facts.

use crate::general_lists::{
    ANIMAL_QUESTIONS, ANIMAL_SENTENCES, ANIMALS, CARE, CARE_QUESTIONS, DAYS, JOB_QUESTIONS, JOB_SENTENCES, JOBS, PEOPLE, STORIES,
    THING_QUESTIONS, THING_SENTENCES, THINGS,
};
use crate::rng::Rng;

/// One document a line.
pub(crate) fn write(seed: u64, documents: usize) -> String {
    let mut rng = Rng::stream(seed, "general");
    let mut lines = String::new();
    for at in 0..documents {
        // Kinds take turns, so that a small corpus has them all.
        let text = match at % 8 {
            0 | 4 => description(&mut rng, 3),
            1 | 5 => quiz(&mut rng),
            2 => stories(&mut rng),
            3 => care(&mut rng, 4),
            6 => format!("{} {}", description(&mut rng, 1), description(&mut rng, 2)),
            _ => format!("{}\n{}", care(&mut rng, 2), care_question(&mut rng)),
        };
        let text = serde_json::Value::from(text).to_string();
        lines.push_str(&format!("{{\"text\":{text}}}\n"));
    }
    lines
}

/// What the sentences and questions about one thing are made of.
struct Topic {
    slots: Vec<(&'static str, &'static str)>,
    sentences: &'static [&'static str],
    questions: &'static [(&'static str, &'static str)],
}

impl Topic {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(3) {
            0 => {
                let (name, food, home, does) = *rng.pick(&ANIMALS);
                let slots = vec![("{name}", name), ("{food}", food), ("{home}", home), ("{does}", does)];
                Self { slots, sentences: &ANIMAL_SENTENCES, questions: &ANIMAL_QUESTIONS }
            }
            1 => {
                let (name, place, stuff, purpose) = *rng.pick(&THINGS);
                let slots = vec![("{name}", name), ("{place}", place), ("{stuff}", stuff), ("{use}", purpose)];
                Self { slots, sentences: &THING_SENTENCES, questions: &THING_QUESTIONS }
            }
            _ => {
                let (name, tool, place) = *rng.pick(&JOBS);
                let slots = vec![("{name}", name), ("{tool}", tool), ("{place}", place)];
                Self { slots, sentences: &JOB_SENTENCES, questions: &JOB_QUESTIONS }
            }
        }
    }

    fn fill(&self, template: &str) -> String {
        self.slots.iter().fold(template.to_owned(), |text, (slot, word)| text.replace(slot, word))
    }
}

/// Sentences about one thing and, mostly, a question about it.
fn description(rng: &mut Rng, sentences: usize) -> String {
    let topic = Topic::draw(rng);
    let mut order: Vec<usize> = (0..topic.sentences.len()).collect();
    rng.shuffle(&mut order);
    let mut text: Vec<String> = order.iter().take(sentences).map(|&at| topic.fill(topic.sentences[at])).collect();
    if rng.chance(60) {
        let (question, answer) = rng.pick(topic.questions);
        text.push(asked(&topic.fill(question), &topic.fill(answer), " "));
    }
    text.join(" ")
}

/// Three questions about three things.
fn quiz(rng: &mut Rng) -> String {
    let questions: Vec<String> = (0..3)
        .map(|_| {
            let topic = Topic::draw(rng);
            let (question, answer) = rng.pick(topic.questions);
            asked(&topic.fill(question), &topic.fill(answer), "\n")
        })
        .collect();
    questions.join("\n")
}

fn stories(rng: &mut Rng) -> String {
    let told: Vec<String> = (0..2)
        .map(|_| {
            let (who, day) = (*rng.pick(&PEOPLE), *rng.pick(&DAYS));
            let ((thing, ..), (_, place, ..)) = (*rng.pick(&THINGS), *rng.pick(&THINGS));
            let fill = |text: &str| text.replace("{who}", who).replace("{day}", day).replace("{thing}", thing).replace("{place}", place);
            let (tale, question, answer) = *rng.pick(&STORIES);
            format!("{}\n{}", fill(tale), asked(&fill(question), &fill(answer), "\n"))
        })
        .collect();
    told.join("\n")
}

fn care(rng: &mut Rng, sentences: usize) -> String {
    let mut order: Vec<usize> = (0..CARE.len()).collect();
    rng.shuffle(&mut order);
    let text: Vec<&str> = order.iter().take(sentences).map(|&at| CARE[at]).collect();
    text.join(" ")
}

fn care_question(rng: &mut Rng) -> String {
    let (question, answer) = *rng.pick(&CARE_QUESTIONS);
    asked(question, answer, "\n")
}

/// The exam's form, with either of the breaks that occur before the answer.
fn asked(question: &str, answer: &str, line_break: &str) -> String {
    format!("Question: {question}{line_break}Answer: {answer}.")
}
