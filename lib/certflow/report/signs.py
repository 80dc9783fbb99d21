"""Plain Unicode text as LaTeX that every engine compiles: no character can end the run, whatever a name or caption holds."""

import re
import unicodedata
from collections.abc import Mapping

RESERVED = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    "*": "{*}",
    '"': "''",  # \textquotedbl is not in the font encoding that LaTeX starts with
}
"""ASCII characters that LaTeX, or a tabular, reads as commands."""

TEXT = {
    "–": "--",
    "—": "---",
    "―": "---",
    "‐": "-",
    "‑": "-",
    "\u00ad": r"\-",
    "\u00a0": "~",
    "\u202f": r"\,",
    "\u2009": r"\,",
    "‘": "`",
    "’": "'",
    "ʼ": "'",
    "‚": ",",
    "“": "``",
    "”": "''",
    "„": ",,",
    "‹": r"$\langle$",
    "›": r"$\rangle$",
    "«": r"$\ll$",
    "»": r"$\gg$",
    "…": r"\ldots{}",
    "•": r"\textbullet{}",
    "†": r"\dag{}",
    "‡": r"\ddag{}",
    "§": r"\S{}",
    "¶": r"\P{}",
    "©": r"\copyright{}",
    "®": r"\textregistered{}",
    "™": r"\texttrademark{}",
    "£": r"\pounds{}",
    "€": "EUR",
    "¡": "!`",
    "¿": "?`",
    "ß": r"\ss{}",
    "ẞ": "SS",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "ı": r"\i{}",
    "ȷ": r"\j{}",
    "⁄": "/",
    "‰": "0/00",
}
"""Signs and letters that LaTeX has commands for in text, in its oldest font encoding too."""

GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega"
LATIN_LOOKS = dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΧΥο", "ABEZHIKMNOPTXYo", strict=True))
"""Greek letters that look like Latin ones; LaTeX has no others for them. (Υ is printed like Y.)"""

MATH = {
    "ε": "varepsilon",
    "ϵ": "epsilon",
    "φ": "varphi",
    "ϕ": "phi",
    "ϑ": "vartheta",
    "ϖ": "varpi",
    "ϱ": "varrho",
    "ς": "varsigma",
    "ϰ": "kappa",
    "µ": "mu",
    "ℓ": "ell",
    "ℏ": "hbar",
    "ℵ": "aleph",
    "ℜ": "Re",
    "ℑ": "Im",
    "℘": "wp",
    "∞": "infty",
    "≤": "le",
    "≥": "ge",
    "≦": "le",
    "≧": "ge",
    "⩽": "le",
    "⩾": "ge",
    "≪": "ll",
    "≫": "gg",
    "≠": "ne",
    "≈": "approx",
    "≃": "simeq",
    "≅": "cong",
    "≡": "equiv",
    "∼": "sim",
    "∝": "propto",
    "≺": "prec",
    "≻": "succ",
    "±": "pm",
    "∓": "mp",
    "×": "times",
    "÷": "div",
    "·": "cdot",
    "⋅": "cdot",
    "∙": "bullet",
    "∗": "ast",
    "⋆": "star",
    "★": "star",
    "☆": "star",
    "∘": "circ",
    "⊕": "oplus",
    "⊖": "ominus",
    "⊗": "otimes",
    "⊙": "odot",
    "∑": "sum",
    "∏": "prod",
    "∫": "int",
    "∮": "oint",
    "∂": "partial",
    "∇": "nabla",
    "√": "surd",
    "✓": "surd",
    "✔": "surd",
    "✗": "times",
    "✘": "times",
    "∀": "forall",
    "∃": "exists",
    "¬": "neg",
    "∧": "wedge",
    "∨": "vee",
    "∩": "cap",
    "∪": "cup",
    "∈": "in",
    "∋": "ni",
    "∉": "notin",
    "∅": "emptyset",
    "⊂": "subset",
    "⊃": "supset",
    "⊆": "subseteq",
    "⊇": "supseteq",
    "∖": "setminus",
    "⊤": "top",
    "⊥": "perp",
    "⊢": "vdash",
    "⊨": "models",
    "∥": "parallel",
    "‖": "|",
    "∣": "mid",
    "∠": "angle",
    "′": "prime",
    "⟨": "langle",
    "⟩": "rangle",
    "⌈": "lceil",
    "⌉": "rceil",
    "⌊": "lfloor",
    "⌋": "rfloor",
    "△": "triangle",
    "▽": "bigtriangledown",
    "◇": "diamond",
    "♠": "spadesuit",
    "♡": "heartsuit",
    "♥": "heartsuit",
    "♢": "diamondsuit",
    "♦": "diamondsuit",
    "♣": "clubsuit",
    "←": "leftarrow",
    "→": "rightarrow",
    "↑": "uparrow",
    "↓": "downarrow",
    "↔": "leftrightarrow",
    "↕": "updownarrow",
    "↖": "nwarrow",
    "↗": "nearrow",
    "↘": "searrow",
    "↙": "swarrow",
    "↦": "mapsto",
    "↪": "hookrightarrow",
    "↩": "hookleftarrow",
    "⇐": "Leftarrow",
    "⇒": "Rightarrow",
    "⇑": "Uparrow",
    "⇓": "Downarrow",
    "⇔": "Leftrightarrow",
    "⇕": "Updownarrow",
    "⟵": "longleftarrow",
    "⟶": "longrightarrow",
    "⟷": "longleftrightarrow",
    "⟸": "Longleftarrow",
    "⟹": "Longrightarrow",
    "⟺": "Longleftrightarrow",
    "⟼": "longmapsto",
}
"""Signs → their commands in mathematics; none needs a package. Where LaTeX alone lacks a sign, the nearest it has."""


def _greek() -> dict[str, str]:
    """The Greek letters, by their Unicode names; those of `MATH` and `LATIN_LOOKS` go before."""
    commands = {}
    for name in GREEK.split():
        unicode_name = name.upper().replace("LAMBDA", "LAMDA")
        commands[unicodedata.lookup(f"GREEK SMALL LETTER {unicode_name}")] = name
        commands[unicodedata.lookup(f"GREEK CAPITAL LETTER {unicode_name}")] = name.capitalize()
    return commands


SIGNS: Mapping[str, str] = {
    **{sign: rf"$\{name}$" for sign, name in {**_greek(), **MATH}.items()},
    **LATIN_LOOKS,
    "−": "$-$",
    "″": r"$\prime\prime$",
    "°": r"$^\circ$",
    "ℝ": r"$\mathbf{R}$",
    "ℕ": r"$\mathbf{N}$",
    "ℤ": r"$\mathbf{Z}$",
    "𝔼": r"$\mathbf{E}$",
    "ℙ": r"$\mathbf{P}$",
    **RESERVED,
    **TEXT,
}
"""Character → LaTeX."""

ACCENTS = {
    "\u0300": ("`", "grave"),
    "\u0301": ("'", "acute"),
    "\u0302": ("^", "hat"),
    "\u0303": ("~", "tilde"),
    "\u0304": ("=", "bar"),
    "\u0306": ("u", "breve"),
    "\u0307": (".", "dot"),
    "\u0308": ('"', "ddot"),
    "\u030a": ("r", "mathring"),
    "\u030b": ("H", "ddot"),
    "\u030c": ("v", "check"),
    "\u0323": ("d", ""),
    "\u0327": ("c", ""),
    "\u0331": ("b", ""),
}
"""Combining character → its command in text and in mathematics; others, which the oldest font encoding lacks, are left out."""

OTHER = r"\certflowsign"
DEFINITION = rf"\providecommand{{{OTHER}}}[2]{{\ifdefined\XeTeXversion #1\else\ifdefined\directlua #1\else #2\fi\fi}}"
"""A character that LaTeX has no command for: itself where the engine reads Unicode (XeTeX, LuaTeX), else its number."""


def escape(text: str) -> str:
    """Plain text as LaTeX prints it, in one paragraph: ends of lines become blanks, control characters vanish."""
    text = re.sub(r"[\s\u2028\u2029]*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*", " ", text)
    plain = "".join(map(_cluster, re.findall(r"(?s:.)[\u0300-\u036f]*", unicodedata.normalize("NFC", text))))
    plain = re.sub(r"\$\\ell\$([12])", r"$\\ell_\1$", plain).replace(r"$\ell$$\infty$", r"$\ell_\infty$")
    return re.sub(r"\bn0\b", "$n_0$", plain)


def _cluster(cluster: str) -> str:
    """One character with the combining marks that follow it."""
    if cluster in SIGNS:
        return SIGNS[cluster]
    base, *marks = unicodedata.normalize("NFD", cluster)
    if not marks or not all("\u0300" <= mark <= "\u036f" for mark in marks):
        return "".join(map(_sign, cluster))
    printed = {"i": r"\i{}", "j": r"\j{}"}.get(base) or SIGNS.get(base) or _sign(base)
    for mark in marks:
        text, math = ACCENTS.get(mark, ("", ""))
        if printed.startswith("$") and math:
            printed = rf"$\{math}{{{printed[1:-1]}}}$"
        elif text and not printed.startswith("$"):
            printed = rf"\{text}{{{printed}}}"
    return printed


def _sign(sign: str) -> str:
    """One character without marks."""
    if sign in SIGNS:
        return SIGNS[sign]
    category = unicodedata.category(sign)
    if sign.isascii() and category[0] != "C":
        return sign
    if category in ("Cc", "Cf", "Cs") or category[0] == "M":
        return " " if sign == "\t" else ""
    if category == "Zs":
        return " "
    form, _, alike = unicodedata.decomposition(sign).rpartition("> ")
    if form:
        inner = "".join(_sign(chr(int(code, 16))) for code in alike.split())
        shifted = {"<super": "superscript", "<sub": "subscript"}.get(form)
        return rf"\text{shifted}{{{inner}}}" if shifted else inner
    return rf"{OTHER}{{{sign}}}{{{{[}}U+{ord(sign):04X}]}}"
