"""Words that the simulated templatizer knows. Data alone."""

from __future__ import annotations

# Verbs whose object is a value, and the names for an object of one word and of several.
VERBS: dict[str, tuple[str, str]] = {
    r"[Tt]ranslat(?:e|ing)|[Tt]radui(?:s|sez|re)|[Tt]raduce|[Tt]raducir|[ÜüUu]bersetze?n?"
    r"|[Пп]ереведи(?:те)?|[Пп]еревести|[Tt]raduz(?:a|ir)?|[Tt]radurre|[Tt]raduci": (
        "WORD_TO_TRANSLATE",
        "TEXT_TO_TRANSLATE",
    ),
    r"[Ss]ummari[sz]e|[Rr]ésume[rz]?|[Rr]esume|[Zz]usammenfassen|[Рр]езюмируй(?:те)?": (
        "TEXT_TO_SUMMARIZE",
        "TEXT_TO_SUMMARIZE",
    ),
    r"[Ee]xplain|[Ee]xplique[rz]?|[Ee]rkläre?n?|[Оо]бъясни(?:те)?|[Tt]each me about": (
        "TOPIC",
        "TOPIC",
    ),
    r"[Dd]escribe|[Dd]écri(?:s|vez|re)|[Bb]eschreibe?n?|[Оо]пиши(?:те)?": ("SUBJECT", "SUBJECT"),
    r"[Dd]efine|[Dd]éfini(?:s|ssez|r)|[Dd]efiniere?n?": ("TERM", "TERM"),
    r"[Cc]lassify|[Cc]ategori[sz]e|[Cc]lasse[rz]?|[Кк]лассифицируй(?:те)?": (
        "TEXT_TO_CLASSIFY",
        "TEXT_TO_CLASSIFY",
    ),
    r"[Rr]ewrite|[Rr]ephrase|[Pp]araphrase|[Rr]eformule[rz]?|[Пп]ерепиши(?:те)?": (
        "TEXT_TO_REWRITE",
        "TEXT_TO_REWRITE",
    ),
    r"[Cc]orrect|[Pp]roofread|[Cc]orrige[rz]?|[Ии]справь(?:те)?": (
        "TEXT_TO_CORRECT",
        "TEXT_TO_CORRECT",
    ),
    r"[Cc]onvert|[Cc]onverti(?:s|ssez|r)": ("VALUE_TO_CONVERT", "VALUE_TO_CONVERT"),
    r"[Pp]ronounce|[Ss]pell|[Pp]rononce[rz]?": ("WORD", "WORD"),
    r"[Rr]ecipes? for|[Rr]ecettes? (?:de|pour)": ("DISH", "DISH"),
    r"(?:[Pp]oem|[Ss]tory|[Aa]rticle|[Ee]ssay|[Ss]ong|[Hh]aiku|[Pp]ost|[Rr]eport|[Jj]oke|[Bb]ook|"
    r"[Pp]aragraph|[Ss]ummary|[Ee]mail|[Ll]etter|[Hh]istoire|[Pp]oème|[Cc]onte) (?:about|on|sur)|"
    r"(?:[Сс]татью|[Рр]ассказ|[Сс]тихотворение|[Пп]исьмо) (?:об?|про)": ("TOPIC", "TOPIC"),
}

# An object that begins so points elsewhere and is no value.
GENERIC = frozenset(
    "this that these those it its them the following my your our their his her each every all any "
    "what which how why whether me us you ce cet cette ces le la les ceci cela suivant suivante "
    "mon ma mes votre vos это этот эту эти следующий следующее следующую текст мне dies diesen "
    "diese folgenden folgende".split()
)

# Where the object ends.
STOPS = (
    "to|into|in|from|for|using|with|as|by|on|at|and|then|so|without|within|like|while|when|if|but|"
    "or|en|vers|pour|avec|dans|sans|et|puis|du|depuis|на|с|для|в|и|без|как|ins|auf|von|nach|für|"
    "und|al|para|con"
)

# Nouns that name the quoted value behind them.
QUOTED_NOUNS = {
    "word": "WORD",
    "phrase": "PHRASE",
    "sentence": "SENTENCE",
    "text": "TEXT",
    "title": "TITLE",
    "titled": "TITLE",
    "entitled": "TITLE",
    "name": "NAME",
    "named": "NAME",
    "called": "NAME",
    "question": "QUESTION",
    "topic": "TOPIC",
    "term": "TERM",
    "product": "PRODUCT",
    "company": "COMPANY_NAME",
    "city": "CITY",
    "book": "BOOK",
    "film": "FILM",
    "movie": "FILM",
    "song": "SONG",
    "mot": "WORD",
    "titre": "TITLE",
    "слово": "WORD",
    "фразу": "PHRASE",
    "книгу": "BOOK",
}

TRANSLATE_BEFORE = ("把", "将", "將", "翻译", "翻譯")

# Labels ("Note: ...") whose text is instruction, not value.
PLAIN_LABELS = frozenset(
    "NOTE NOTES EXAMPLE EXAMPLES EXEMPLE EXEMPLES INSTRUCTION INSTRUCTIONS TASK RULE RULES OUTPUT "
    "FORMAT IMPORTANT WARNING STEP STEPS HINT TIP SYSTEM HUMAN ASSISTANT INPUT ANSWER REMEMBER "
    "REMARQUE CONSIGNE TRANSLATE SUMMARIZE SUMMARISE EXPLAIN DESCRIBE CLASSIFY REWRITE HTTP HTTPS "
    "TODAY OTHERWISE FINALLY FIRST SECOND THIRD".split()
)

LABELS = {
    "имя": "NAME",
    "тема": "TOPIC",
    "город": "CITY",
    "дата": "DATE",
    "язык": "LANGUAGE",
    "вопрос": "QUESTION",
    "текст": "TEXT",
    "姓名": "NAME",
    "名字": "NAME",
    "主题": "TOPIC",
    "主題": "TOPIC",
    "城市": "CITY",
    "日期": "DATE",
    "语言": "LANGUAGE",
    "語言": "LANGUAGE",
    "问题": "QUESTION",
    "問題": "QUESTION",
}

LANGUAGES = (
    "English|German|French|Spanish|Italian|Portuguese|Dutch|Swedish|Norwegian|Danish|Finnish|"
    "Polish|Czech|Slovak|Hungarian|Romanian|Bulgarian|Greek|Turkish|Russian|Ukrainian|Arabic|"
    "Hebrew|Persian|Hindi|Bengali|Urdu|Tamil|Thai|Vietnamese|Indonesian|Malay|Korean|Japanese|"
    "Mandarin|Cantonese|(?:Simplified |Traditional )?Chinese|Latin|Swahili|Esperanto|Catalan|"
    "anglais|allemand|français|espagnol|italien|portugais|néerlandais|russe|chinois|japonais|"
    "arabe|coréen|polonais|turc|"
    "Englisch|Deutsche?|Französische?|Spanische?|Italienische?|Russische?|Chinesische?|"
    "inglés|alemán|francés|ruso|chino|japonés|"
    "(?:английск|немецк|французск|испанск|итальянск|русск|китайск|японск|польск|турецк|арабск)"
    "(?:ий|ого|ом|ому)"
)
LANGUAGES_CJK = (
    "(?:英|德|法|俄|日|汉|漢|韩|韓)[语語文]|西班牙[语語文]|葡萄牙[语語文]|意大利[语語文]|"
    "阿拉伯[语語文]|中文|日本語|ドイツ語|フランス語"
)
TARGET_BEFORE = [
    *"to into in en vers на auf ins in's al au à до 成 为 為 到 用".split(),
    *("vers l'", "vers l’", "vers le"),
]
SOURCE_BEFORE = ["from", "du", "de l'", "de l’", "depuis", "с", "aus dem", "del", "从", "從", "由"]

PROGRAMMING = (
    "Python|JavaScript|TypeScript|Java|Rust|Go(?:lang)?|Kotlin|Swift|Ruby|PHP|Perl|Haskell|Scala|"
    r"C\+\+|C#|SQL|Bash|Lua|Fortran|COBOL"
)

MONTHS = (
    "January|February|March|April|May|June|July|August|September|October|November|December|"
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|"
    "janvier|février|mars|avril|mai|juin|juillet|août|septembre|octobre|novembre|décembre|"
    "Januar|Februar|März|Mai|Juni|Juli|Oktober|Dezember|"
    "января|февраля|марта|апреля|мая|июня|июля|августа|сентября|октября|ноября|декабря"
)
WEEKDAYS = frozenset("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
MONTH_NAMES = frozenset(MONTHS.split("|")[:12])
TITLES = frozenset("Mr Mrs Ms Dr Prof Mme Mlle Herr Frau Sir Madam Professor Doctor".split())
COMPANY_ENDS = frozenset("Inc Ltd GmbH Corp LLC AG SA Co plc Corporation Company".split())
PLACE_BEFORE = frozenset("in near visit visiting à в из".split())

# Capitalised words that are no names, wherever they stand.
NO_NAMES = frozenset(
    "I I'm I'll I've I'd A An The You We They He She It This That These Those If When Where What "
    "Who Why How Please Use Write Give Make Ask Tell Send Say List Create Draft Compose Find Show "
    "Add Do Not No Yes And Or But So Then Also Is Are Was For To From In On At By With As Of Be "
    "Human Assistant User Internet Je Tu Il Elle Nous Vous Ils Elles Le La Les Un Une Des Du De En "
    "Sie Ich Der Die Das Ein Eine Вы Я Мы Он Она Они Это Вам Вас Dear Hello Hi Remind Invite Call "
    "Email Reply Plan Book Describe Explain Summarize Translate Compare Help Let Here There Your "
    "My Our Their Cher Chère Écris Écrivez Rédige Напиши Напишите Dites Dis Act Answer Always "
    "Never Think Provide Return Keep Only Introduce Contact Meet Thank Thanks".split()
)
