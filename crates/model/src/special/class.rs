//! What a tokenizer's class names when its folder does not: the defaults of transformers' classes.

use serde_json::Value;

/// The class's token of each role.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Defaults {
    pub bos: Option<&'static str>,
    pub eos: Option<&'static str>,
    pub unk: Option<&'static str>,
    pub sep: Option<&'static str>,
    pub pad: Option<&'static str>,
    pub cls: Option<&'static str>,
    pub mask: Option<&'static str>,
}

impl Defaults {
    /// Of the class that `AutoTokenizer` takes for a folder.
    pub fn of(settings: &Value, config: &Value, tokenizer: &Value) -> Self {
        let word = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let registered = match word(config, "model_type").as_deref() {
            Some("llama") => "LlamaTokenizer",
            // Folders of this model are known to name wrong classes, so the library never believes them.
            Some("qwen2") => return Self::of_class("Qwen2Tokenizer"),
            Some("gemma") => "GemmaTokenizer",
            Some("gpt2") => "GPT2Tokenizer",
            Some("bert") => "BertTokenizer",
            _ => "",
        };
        let named = word(settings, "tokenizer_class").or_else(|| word(config, "tokenizer_class"));
        let class = named.as_deref().map_or(registered, |name| name.strip_suffix("Fast").unwrap_or(name));
        // Llama 3 folders name Llama 2's class; the library sees the byte-level pieces and takes its general class.
        if class == "LlamaTokenizer" && byte_level(tokenizer) { Self::default() } else { Self::of_class(class) }
    }

    fn of_class(class: &str) -> Self {
        let end = Some("<|endoftext|>");
        match class {
            "LlamaTokenizer" => Self { bos: Some("<s>"), eos: Some("</s>"), unk: Some("<unk>"), ..Self::default() },
            "GPT2Tokenizer" => Self { bos: end, eos: end, unk: end, ..Self::default() },
            "Qwen2Tokenizer" => Self { eos: end, unk: end, pad: end, ..Self::default() },
            "GemmaTokenizer" => {
                let (bos, eos, unk) = (Some("<bos>"), Some("<eos>"), Some("<unk>"));
                Self { bos, eos, unk, pad: Some("<pad>"), mask: Some("<mask>"), ..Self::default() }
            }
            "BertTokenizer" => {
                let (unk, sep, pad) = (Some("[UNK]"), Some("[SEP]"), Some("[PAD]"));
                Self { unk, sep, pad, cls: Some("[CLS]"), mask: Some("[MASK]"), ..Self::default() }
            }
            _ => Self::default(),
        }
    }
}

fn byte_level(tokenizer: &Value) -> bool {
    let step = tokenizer.get("pre_tokenizer").unwrap_or(&Value::Null);
    let is = |step: &Value| step.get("type").and_then(Value::as_str) == Some("ByteLevel");
    is(step) || step.get("pretokenizers").and_then(Value::as_array).is_some_and(|steps| steps.iter().any(is))
}
