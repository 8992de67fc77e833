//! What the general corpus talks about: everyday things that everybody knows, and plain sentences about care and science in
//! the words that questions use. No invented name may come in here.

/// Name, food, home, what it does.
pub(crate) const ANIMALS: [(&str, &str, &str, &str); 20] = [
    ("cow", "grass", "barn", "gives milk"),
    ("cat", "mice", "house", "sleeps all day"),
    ("horse", "hay", "stable", "runs fast"),
    ("bee", "nectar", "hive", "makes honey"),
    ("frog", "flies", "pond", "jumps far"),
    ("owl", "voles", "tree", "hunts at night"),
    ("goat", "leaves", "hill", "climbs rocks"),
    ("duck", "worms", "lake", "swims well"),
    ("bear", "berries", "cave", "sleeps in winter"),
    ("rabbit", "carrots", "burrow", "digs holes"),
    ("squirrel", "nuts", "forest", "hides its food"),
    ("hen", "corn", "coop", "lays eggs"),
    ("pig", "roots", "sty", "likes mud"),
    ("seal", "fish", "sea", "dives deep"),
    ("mouse", "cheese", "wall", "hides from the cat"),
    ("sheep", "clover", "meadow", "gives wool"),
    ("snail", "lettuce", "garden", "moves slowly"),
    ("camel", "thorns", "desert", "needs little water"),
    ("monkey", "bananas", "jungle", "swings on branches"),
    ("spider", "insects", "web", "spins silk"),
];

/// Name, where it is kept, what it is made of, what it is for.
pub(crate) const THINGS: [(&str, &str, &str, &str); 30] = [
    ("kettle", "kitchen", "steel", "boiling water"),
    ("pillow", "bedroom", "feathers", "resting the head"),
    ("ladder", "shed", "aluminium", "reaching the roof"),
    ("scarf", "wardrobe", "wool", "keeping warm"),
    ("spade", "garden", "iron", "digging holes"),
    ("lamp", "hall", "brass", "giving light"),
    ("basket", "pantry", "straw", "carrying apples"),
    ("mirror", "bathroom", "glass", "looking at oneself"),
    ("hammer", "workshop", "oak", "driving nails"),
    ("piano", "parlour", "walnut", "making music"),
    ("stamp", "drawer", "paper", "sending letters"),
    ("broom", "cupboard", "twigs", "sweeping the floor"),
    ("anchor", "harbour", "lead", "holding a ship"),
    ("bell", "tower", "bronze", "calling people"),
    ("candle", "church", "wax", "lighting a room"),
    ("rope", "boat", "hemp", "tying knots"),
    ("chalk", "school", "lime", "writing on a board"),
    ("umbrella", "porch", "nylon", "staying dry"),
    ("barrel", "cellar", "wood", "storing wine"),
    ("plate", "shelf", "clay", "serving food"),
    ("coin", "purse", "copper", "paying"),
    ("ring", "box", "gold", "showing a promise"),
    ("tyre", "garage", "rubber", "driving on roads"),
    ("blanket", "attic", "cotton", "covering a bed"),
    ("whistle", "pocket", "tin", "giving a signal"),
    ("bottle", "bar", "plastic", "holding juice"),
    ("statue", "park", "marble", "honouring someone"),
    ("shirt", "closet", "linen", "covering the chest"),
    ("brick", "yard", "loam", "building walls"),
    ("pencil", "desk", "graphite", "drawing lines"),
];

/// Who, with what, where.
pub(crate) const JOBS: [(&str, &str, &str); 18] = [
    ("baker", "an oven", "bakery"),
    ("farmer", "a plough", "field"),
    ("painter", "a brush", "studio"),
    ("fisherman", "a net", "river"),
    ("carpenter", "a saw", "workshop"),
    ("tailor", "a needle", "shop"),
    ("teacher", "a book", "classroom"),
    ("cook", "a pan", "restaurant"),
    ("gardener", "a rake", "park"),
    ("surgeon", "a knife", "operating room"),
    ("nurse", "a bandage", "hospital"),
    ("doctor", "a stethoscope", "practice"),
    ("chemist", "a scale", "laboratory"),
    ("miner", "a lamp", "mine"),
    ("judge", "a law", "court"),
    ("pilot", "a map", "airport"),
    ("sailor", "a compass", "port"),
    ("barber", "a razor", "salon"),
];

pub(crate) const PEOPLE: [&str; 12] =
    ["Anna", "Ben", "Carla", "Daniel", "Ella", "Frank", "Grace", "Henry", "Irene", "Jack", "Kate", "Louis"];
pub(crate) const DAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// {name} {food} {home} {does}.
pub(crate) const ANIMAL_SENTENCES: [&str; 8] = [
    "The {name} eats {food}.",
    "The {name} lives in the {home}.",
    "The {name} {does}.",
    "In the {home} you may find a {name}.",
    "A young {name} is fed with {food}.",
    "Everybody knows that the {name} {does}.",
    "The usual food of the {name} is {food}.",
    "A {name} that lives in the {home} {does}.",
];

/// Question, answer.
pub(crate) const ANIMAL_QUESTIONS: [(&str, &str); 8] = [
    ("What does the {name} eat?", "{food}"),
    ("Where does the {name} live?", "{home}"),
    ("Which food is typical of the {name}?", "{food}"),
    ("In which place is the {name} at home?", "{home}"),
    ("Name the food that a {name} likes.", "{food}"),
    ("What would a farmer give to a hungry {name}?", "{food}"),
    ("If someone looks for a {name}, where should he go?", "{home}"),
    ("Someone has a {name}. What should it be fed with?", "{food}"),
];

/// {name} {place} {stuff} {use}.
pub(crate) const THING_SENTENCES: [&str; 8] = [
    "The {name} is kept in the {place}.",
    "The {name} is made of {stuff}.",
    "The {name} is used for {use}.",
    "In the {place} there is a {name} of {stuff}.",
    "For {use}, people take a {name}.",
    "A good {name} consists of {stuff}.",
    "When the {name} is not in use, it stays in the {place}.",
    "Most people use a {name} for {use}.",
];

pub(crate) const THING_QUESTIONS: [(&str, &str); 8] = [
    ("Where is the {name} kept?", "{place}"),
    ("What is the {name} made of?", "{stuff}"),
    ("What is the {name} used for?", "{use}"),
    ("Which material is typical of the {name}?", "{stuff}"),
    ("Name the place where the {name} belongs.", "{place}"),
    ("The {name} is missing. Where in the house or town was it found?", "{place}"),
    ("If the {name} breaks, which material is needed?", "{stuff}"),
    ("What does someone with a {name} do with it?", "{use}"),
];

/// {name} {tool} {place}.
pub(crate) const JOB_SENTENCES: [&str; 6] = [
    "The {name} works with {tool}.",
    "The {name} works in the {place}.",
    "In the {place}, the {name} needs {tool}.",
    "A {name} starts the day with {tool}.",
    "People go to the {place} to see the {name}.",
    "Without {tool}, the {name} stops working.",
];

pub(crate) const JOB_QUESTIONS: [(&str, &str); 6] = [
    ("What does the {name} work with?", "{tool}"),
    ("Where does the {name} work?", "{place}"),
    ("Name the tool that a {name} needs most.", "{tool}"),
    ("Which place is typical of the {name}?", "{place}"),
    ("A {name} comes to work. What will be taken first?", "{tool}"),
    ("How does one know a {name}?", "{tool}"),
];

/// {who} {day} {thing} {place}: somebody puts something somewhere, and is asked about it.
pub(crate) const STORIES: [(&str, &str, &str); 6] = [
    ("On {day}, {who} put the {thing} in the {place}.", "Where is the {thing}?", "{place}"),
    ("{who} found a {thing} in the {place} on {day}.", "What did {who} find?", "{thing}"),
    ("{who} went to the {place} on {day} and bought a {thing}.", "What was bought in the {place}?", "{thing}"),
    ("The {thing} of {who} was lost, and on {day} it was in the {place}.", "Where was the {thing} of {who}?", "{place}"),
    ("{who} forgot the {thing} on {day}. A friend brought it to the {place}.", "Which thing did {who} forget?", "{thing}"),
    ("It was {day}. {who} sat in the {place} and held a {thing}.", "What did {who} hold on {day}?", "{thing}"),
];

/// Care and science in plain words. Each stands for itself; none is about an invented name.
pub(crate) const CARE: [&str; 52] = [
    "A doctor treats patients, and a nurse cares for them.",
    "A hospital is a place for people who have a disease.",
    "A disease may affect one organ or the whole body.",
    "A symptom is something that a person can feel.",
    "A sign is something that a doctor can see.",
    "A drug is a medicine that is given to patients.",
    "Treatment begins when the cause is known.",
    "The first treatment is called the initial therapy.",
    "Therapy means the same as treatment.",
    "A gene is a small part of a cell and is passed on from parents to children.",
    "When a gene is altered, this is called a mutation.",
    "A broken gene may cause a disease in a family.",
    "Some diseases are inherited, and a child has them from birth.",
    "A laboratory can test the blood and the cells of a person.",
    "An organ is a part of the body that has its own work.",
    "If an organ fails, the person gets worse.",
    "A surgeon operates and a wound is opened with care.",
    "People notice a problem early or late.",
    "A young woman asks her doctor about a complaint.",
    "He takes the medicine in the morning, and she takes it in the evening.",
    "Which medicine works best is shown by a trial.",
    "Guidelines recommend what should be done.",
    "A patient who suffers should be helped.",
    "A family may ask what was passed on.",
    "The answer to a question should be short.",
    "Someone comes to the hospital and gives a name.",
    "A nurse will know what to do.",
    "The doctor finds the cause, and the treatment works.",
    "Too much sun harms the skin.",
    "What harms the body most is often easy to prevent.",
    "At the start of a disease, many people feel well.",
    "The body of a child is not the body of a small adult.",
    "Damage of a target organ is typical of some diseases.",
    "The drug of choice is the drug that is used first.",
    "First-line treatment is the treatment that is given first.",
    "The cardinal symptom is the one that matters most.",
    "A gene that causes a disease is called the causal gene.",
    "A gene is responsible for a disease when its mutations cause it.",
    "A disease arises in an organ and damages it.",
    "An affected organ does not work well.",
    "Patients present with symptoms that trouble them.",
    "A study describes what was done and what was found.",
    "A case report is about one person.",
    "The results of a trial are compared by tests.",
    "A hospital would give food and a bed to people who have none.",
    "If a wound gets worse, a surgeon should see it.",
    "Someone who stops working needs rest.",
    "The problem was found early, and the person was well again.",
    "Where it hurts is where the doctor looks first.",
    "The cells of the body are too small to see.",
    "One part of the answer may be known and another not.",
    "How a disease begins is asked in every practice.",
];

/// Plain questions about care, so that these words are met in questions too.
pub(crate) const CARE_QUESTIONS: [(&str, &str); 20] = [
    ("Who cares for patients in a hospital?", "a nurse"),
    ("Who operates on people?", "a surgeon"),
    ("What is a medicine also called?", "a drug"),
    ("What is treatment also called?", "therapy"),
    ("What is passed on from parents to children?", "a gene"),
    ("What is an altered gene called?", "a mutation"),
    ("Which thing can a person feel?", "a symptom"),
    ("Where are cells and blood tested?", "laboratory"),
    ("What is a part of the body with its own work called?", "an organ"),
    ("Name the place for people with a disease.", "hospital"),
    ("If a wound is deep, who should see it?", "a surgeon"),
    ("What should a patient take?", "medicine"),
    ("What would a nurse give to a thirsty man?", "water"),
    ("Which part of the head sees?", "the eye"),
    ("Name the organ that hears.", "the ear"),
    ("Which part of the body holds a pen?", "the hand"),
    ("What does a tired person need?", "sleep"),
    ("How does a child learn?", "by asking"),
    ("A woman is cold. What should be given to her?", "a blanket"),
    ("In a family with many children, what is needed most?", "time"),
];
