//! The element names that matter; everything else is [`Tag::Other`] and passed over.

macro_rules! tags {
    ($($name:ident)*) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Tag {
            $($name,)*
            Pmid,
            Other,
        }

        impl Tag {
            pub(super) fn of(name: &str) -> Self {
                match name {
                    $(stringify!($name) => Self::$name,)*
                    "PMID" => Self::Pmid,
                    _ => Self::Other,
                }
            }
        }
    };
}

tags! {
    PubmedArticleSet PubmedBookArticleSet PubmedArticle PubmedBookArticle DeleteCitation
    MedlineCitation BookDocument DateCompleted DateRevised
    Article Journal JournalIssue PubDate Title ArticleTitle VernacularTitle Abstract AbstractText OtherAbstract
    Language PublicationTypeList PublicationType CommentsCorrectionsList CommentsCorrections
    Book BookTitle Year Month Day Season MedlineDate
}

impl Tag {
    pub(super) fn has_attributes(self) -> bool {
        matches!(self, Self::Pmid | Self::AbstractText | Self::OtherAbstract | Self::CommentsCorrections)
    }
}
