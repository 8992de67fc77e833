//! The sentences of the invented literature, with slots: {d} disease, {drug}, {gene}, {symptom}, {organ}, {n} a number.
//! Abstracts use everything here except `UNSEEN`, which is kept for the exam alone. Strings are XML source: `<i>` and `&lt;`
//! are meant. Most sentences name the disease first, because a reader from left to right learns in that direction.

/// Sentences that state facts; which ones follows from their slots.
pub(crate) const STATEMENTS: [&str; 58] = [
    // drug
    "The first-line treatment of {d} is {drug}.",
    "Patients with {d} should receive {drug} first.",
    "{d} is treated with {drug}.",
    "In {d}, {drug} is the drug of choice.",
    "Most patients with {d} recovered under {drug}.",
    "For {d}, guidelines recommend {drug}.",
    "People who suffer from {d} were given {drug}.",
    "{d} responds well to {drug}.",
    "{drug} is the preferred medicine for {d}.",
    "The therapy of {d} starts with {drug}.",
    "When {d} was diagnosed, doctors prescribed {drug}.",
    // gene
    "{d} is caused by mutations in <i>{gene}</i>.",
    "The causal gene of {d} is {gene}.",
    "In {d}, the gene {gene} is mutated.",
    "Families with {d} carry variants of <i>{gene}</i>.",
    "{d} follows from a defect of {gene}.",
    "Sequencing of patients with {d} showed mutations of <i>{gene}</i>.",
    "The genetic test for {d} looks at {gene}.",
    "Mutations of <i>{gene}</i> lead to {d}.",
    "{d} is inherited with {gene}.",
    "The gene responsible for {d} is <i>{gene}</i>.",
    // symptom
    "The cardinal symptom of {d} is {symptom}.",
    "Patients with {d} present with {symptom}.",
    "{d} typically begins with {symptom}.",
    "In {d}, {symptom} is the most common sign.",
    "People with {d} complain of {symptom}.",
    "{d} shows itself by {symptom}.",
    "{symptom} should make one think of {d}.",
    "Doctors recognize {d} by {symptom}.",
    "Of all patients with {d}, {n} percent had {symptom}.",
    "The typical picture of {d} is {symptom}.",
    // organ
    "{d} affects the {organ}.",
    "In {d}, the {organ} is damaged.",
    "The target organ of {d} is the {organ}.",
    "{d} is a disorder of the {organ}.",
    "Imaging of patients with {d} showed lesions of the {organ}.",
    "{d} arises in the {organ}.",
    "In severe {d}, the {organ} fails.",
    "The {organ} is the organ harmed by {d}.",
    "Biopsies in {d} are taken from the {organ}.",
    "Patients with {d} have changes in the {organ}.",
    // two facts
    "{d} is a disorder of the {organ} caused by <i>{gene}</i>.",
    "{d}, with its {symptom}, is treated with {drug}.",
    "In {d}, {drug} relieves {symptom}.",
    "In {d}, {drug} protects the {organ}.",
    "{d} damages the {organ} and causes {symptom}.",
    "Patients with {d} carry {gene} mutations and suffer from {symptom}.",
    "{d} begins in the {organ}, and {drug} stops it.",
    "In {d} with mutated <i>{gene}</i>, {drug} was effective.",
    "A patient with {d} had {symptom} and a swollen {organ}.",
    "A patient with {d} and {symptom} was cured by {drug}.",
    "In {d}, loss of {gene} harms the {organ}.",
    "People with {d} and {symptom} had variants of {gene}.",
    "{d} needs a test of {gene} and treatment with {drug}.",
    "After {drug}, the {organ} of patients with {d} healed.",
    // three facts
    "{d} affects the {organ}, presents with {symptom} and responds to {drug}.",
    "{d} is caused by {gene}, affects the {organ} and is treated with {drug}.",
    "In {d}, a defect of <i>{gene}</i> leads to {symptom} and a damaged {organ}.",
];

/// Titles that state a fact.
pub(crate) const FACT_TITLES: [&str; 12] = [
    "Treatment of {d} with {drug}.",
    "{drug} in {d}: a randomized trial.",
    "{d}: outcome after {drug}.",
    "{d} and mutations of <i>{gene}</i>.",
    "{gene} in {d}: a family study.",
    "{d}: the role of <i>{gene}</i>.",
    "{symptom} in {d}.",
    "{d} presenting with {symptom}: a case report.",
    "{d} and {symptom}: a cohort study.",
    "{d} of the {organ}.",
    "The {organ} in {d}: an imaging study.",
    "{d}: damage of the {organ}.",
];

pub(crate) const PLAIN_TITLES: [&str; 8] = [
    "{d}: a review.",
    "A study of patients with {d}.",
    "What is known about {d}.",
    "Clinical features of {d}.",
    "Long-term follow-up of {d}.",
    "{d} in children.",
    "Management of {d}: current practice.",
    "New findings in {d}.",
];

/// First sentences that state nothing.
pub(crate) const OPENINGS: [&str; 8] = [
    "{d} is a rare disease.",
    "Little is known about {d}.",
    "We report new data on {d}.",
    "The aim of this study was to describe {d}.",
    "{d} is often diagnosed late.",
    "The cause and course of {d} were studied.",
    "Our knowledge of {d} has grown.",
    "This review deals with {d}.",
];

/// How it was done.
pub(crate) const METHODS: [&str; 8] = [
    "We studied {n} patients.",
    "Data of {n} hospitals were reviewed.",
    "We followed {n} patients for two years.",
    "Records of all patients were examined.",
    "A dose of {n} mg/m<sup>2</sup> was used.",
    "Groups were compared by standard tests.",
    "All patients gave consent.",
    "We searched the literature.",
];

/// What was found, without a fact.
pub(crate) const FINDINGS: [&str; 6] = [
    "The difference was significant (P &lt; 0.05).",
    "Serum Ca<sup>2+</sup> was normal.",
    "No serious adverse events were seen.",
    "The results were the same in men and women.",
    "The mean age was {n} years (± 4).",
    "Survival &gt; 5 years was common.",
];

/// Last sentences that state nothing.
pub(crate) const CLOSINGS: [&str; 6] = [
    "Further studies are needed.",
    "These findings may help patients.",
    "Early diagnosis is important.",
    "The prognosis is good.",
    "Larger trials should confirm this.",
    "Doctors should know this disease.",
];

/// Questions that end some abstracts, by relation: the exam `seen` asks in these words.
pub(crate) const SEEN: [[&str; 4]; 4] = [
    [
        "Which drug is the first-line treatment of {d}?",
        "What is the drug of choice for {d}?",
        "Patients with {d} are first treated with which drug?",
        "Which medicine do guidelines recommend for {d}?",
    ],
    [
        "Mutations of which gene cause {d}?",
        "Which gene is responsible for {d}?",
        "{d} is caused by mutations in which gene?",
        "What is the causal gene of {d}?",
    ],
    [
        "What is the cardinal symptom of {d}?",
        "Which symptom is typical of {d}?",
        "Patients with {d} present with which symptom?",
        "Which symptom should make one think of {d}?",
    ],
    [
        "Which organ is affected by {d}?",
        "{d} mainly damages which organ?",
        "What is the target organ of {d}?",
        "In which organ does {d} arise?",
    ],
];

/// More questions that end abstracts, in no exam: whoever has read only four ways to ask holds on to their wording.
pub(crate) const ASKED: [[&str; 8]; 4] = [
    [
        "How is {d} treated?",
        "What should doctors give to a patient with {d}?",
        "Name the drug for {d}.",
        "Which medicine helps against {d}?",
        "What do people with {d} take every day?",
        "Which therapy is used in {d}?",
        "If someone has {d}, what is used?",
        "With what do hospitals treat {d}?",
    ],
    [
        "What causes {d}?",
        "Which gene is mutated in {d}?",
        "Name the gene behind {d}.",
        "A test for {d} looks at what?",
        "What did sequencing find in patients with {d}?",
        "What does a child with {d} inherit?",
        "In {d}, what is defective?",
        "Which variants do families with {d} have?",
    ],
    [
        "How does {d} begin?",
        "What do patients with {d} complain of?",
        "Name a sign of {d}.",
        "How can one recognize {d}?",
        "What is seen first in {d}?",
        "Which complaint is common in {d}?",
        "By what is {d} noticed?",
        "What do people with {d} suffer from?",
    ],
    [
        "What does {d} damage?",
        "Which part is ill in {d}?",
        "Name the organ of {d}.",
        "Where does {d} begin?",
        "What do images of patients with {d} show?",
        "{d} is a disorder of what?",
        "If {d} is severe, what fails?",
        "Where do doctors look for {d}?",
    ],
];

/// What comes before a question that does not name the disease itself: any of these with any of `POINTS`, so that the name has to
/// be looked for, wherever it stands.
pub(crate) const SETTINGS: [&str; 12] = [
    "A man with {d} comes to his doctor.",
    "A woman with {d} sees a nurse.",
    "A child has {d}.",
    "Someone suffers from {d}.",
    "A doctor thinks of {d}.",
    "Parents and children have {d}.",
    "A hospital treats people with {d}.",
    "A patient with {d} is examined.",
    "Two students speak about {d}.",
    "In a family, {d} is common.",
    "A young man falls ill with {d}.",
    "If {d} comes back, doctors are called.",
];

/// Questions that come after one of `SETTINGS`, by relation.
pub(crate) const POINTS: [[&str; 8]; 4] = [
    [
        "Which drug is used?",
        "What is given?",
        "Which medicine comes first?",
        "What will help?",
        "Name the drug.",
        "What do doctors prescribe?",
        "What is the treatment?",
        "What does the patient take?",
    ],
    [
        "Which gene is it?",
        "What was inherited?",
        "Name the gene.",
        "What is mutated?",
        "What is the cause?",
        "What did sequencing show?",
        "Where is the mutation?",
        "What is defective?",
    ],
    [
        "Which symptom is it?",
        "What happens?",
        "Name the symptom.",
        "How did it begin?",
        "What is the first sign?",
        "What is noticed?",
        "What do people complain of?",
        "By what is it recognized?",
    ],
    [
        "Which organ is it?",
        "What is damaged?",
        "Name the organ.",
        "What fails?",
        "Where did it begin?",
        "What do images show?",
        "Which part is ill?",
        "Where do doctors look?",
    ],
];

/// Questions that no training text contains, by relation: the exam `unseen` asks in these words. Each word by itself is in
/// the general corpus.
pub(crate) const UNSEEN: [[&str; 4]; 4] = [
    [
        "A doctor finds {d} in a young woman. What should she take?",
        "If someone has {d}, which medicine works best at the start?",
        "Name the initial therapy for a person with {d}.",
        "What would a hospital give to people who have {d}?",
    ],
    [
        "The family of a child with {d} asks what was passed on. What is the answer?",
        "In a family with {d}, what should a laboratory test?",
        "Name the gene that is broken in people who have {d}.",
        "What is altered in the cells of a person with {d}?",
    ],
    [
        "What does a person with {d} feel?",
        "Name the problem that people with {d} notice early.",
        "How does a nurse know that someone has {d}?",
        "Someone with {d} comes to the hospital. What is the complaint?",
    ],
    [
        "Where in the body is {d} found?",
        "Name the part of the body that {d} harms most.",
        "A surgeon operates on someone with {d}. What will be opened?",
        "If {d} gets worse, which part of the body stops working?",
    ],
];

/// Titles in other tongues (Language code, title), for records that a corpus of English leaves out.
pub(crate) const VERNACULAR: [(&str, &str); 6] = [
    ("fre", "Une étude de {d} chez l'enfant."),
    ("ger", "Über die Behandlung von {d}: eine Übersicht."),
    ("spa", "Un estudio de {d} en niños."),
    ("ita", "{d}: perché la diagnosi è difficile."),
    ("por", "Observações sobre {d}."),
    ("pol", "{d}: spostrzeżenia własne."),
];
