"""Texts that try to break out of a report."""

from __future__ import annotations

HOSTILE = (
    "<script>alert(1)</script>",
    "</style></pre></code></div><img src=x onerror=alert(2)>",
    "javascript:alert(3)",
    '" onmouseover="alert(4)" x="',
    "' autofocus onfocus=alert(5) '",
    "{{ 7 * 7 }}{% raw %}",
    "]]><!-- x --!><svg onload=alert(6)>",
    "safe\u202eevil\u2066 \u200bhidden\ufeff",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07\x9b2J",
    "[link](javascript:alert(7)) ![img](http://x/y.png)",
    "```\n# not a heading\n```` ` ~~~",
    "@everyone #123 https://evil.example www.evil.example",
    "<!-- promptopt-gate --> --> <details>",
    "| a | b |\n|---|---|",
    "[bold red]rich[/bold red] [link=http://x]y[/link] :smile:",
    "null\x00byte \ud800 half \U000e0041 tag",
    "مرحبا {name} 你好 🙂",
    "%0A::error::x\r\n::set-output name=x::y",
    "$x^2$ \\( a \\) ~~strike~~ **bold** __under__",
)
ALL = " ".join(HOSTILE)
