//! The prompts, verbatim. The letter prompts are lm-evaluation-harness's (tasks medmcqa, medqa_4options, pubmedqa, mmlu_*),
//! the cloze prompts follow its mmlu_continuation. A change of one character changes every score: bump `RULES_VERSION` with it.

use crate::formats::Item;
use crate::python_text::strip;
use crate::spec::{ExamFormat, Protocol};

const LETTERS: [&str; 4] = ["A", "B", "C", "D"];

/// Everything up to and including `Answer:`.
pub(crate) fn prompt(format: ExamFormat, protocol: Protocol, item: &Item) -> String {
    let question = item.question.as_str();
    if let Some(passage) = &item.passage {
        return format!("Abstract: {passage}\nQuestion: {question}\nAnswer:");
    }
    let question = if format == ExamFormat::Mmlu { strip(question) } else { question };
    if protocol == Protocol::Cloze {
        return format!("Question: {question}\nAnswer:");
    }
    let mut prompt = match format {
        ExamFormat::Mmlu => format!("{question}\n"),
        ExamFormat::MedMcqa => format!("Question: {question}\nChoices:\n"),
        _ => format!("Question: {question}\n"),
    };
    for (letter, option) in LETTERS.iter().zip(&item.options) {
        prompt.push_str(&format!("{letter}. {option}\n"));
    }
    prompt.push_str("Answer:");
    prompt
}

/// The possible answers; the model is asked for `" "` and one of them.
pub(crate) fn choices(format: ExamFormat, protocol: Protocol, item: &Item) -> Vec<String> {
    if protocol == Protocol::Cloze || format == ExamFormat::PubMedQa {
        item.options.clone()
    } else {
        LETTERS.iter().take(item.options.len()).map(|l| (*l).to_owned()).collect()
    }
}

/// What stands once before everything else; only MMLU has it, at 0 shots too.
pub(crate) fn description(protocol: Protocol, subject: Option<&str>) -> String {
    let Some(subject) = subject else { return String::new() };
    let subject = subject.replace('_', " ");
    let kind = if protocol == Protocol::Cloze { "questions" } else { "multiple choice questions" };
    format!("The following are {kind} (with answers) about {subject}.\n\n")
}

/// A demonstration: the prompt with its answer, and the blank line before the next.
pub(crate) fn shot(format: ExamFormat, protocol: Protocol, item: &Item) -> String {
    let answer = choices(format, protocol, item).into_iter().nth(item.gold).unwrap_or_default();
    format!("{} {answer}\n\n", prompt(format, protocol, item))
}
