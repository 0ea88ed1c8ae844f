"""The promotion story, played offline: what its log says is what happened."""

from __future__ import annotations

import promotion_offline


def test_three_nights_and_a_morning(server, capfd):
    promotion_offline.main()
    log = capfd.readouterr().out
    nights = log.split("night ")[1:]
    assert "improved" in nights[0]
    assert "gate passed, -/triage:staging moved" in nights[0]
    assert "production is now" in nights[0]
    assert "flow run: Promoted (COMPLETED); refunds go to 'delivery'" in nights[0]
    assert "flow run: NoGain (COMPLETED); refunds go to 'delivery'" in nights[1]
    assert "flow run: Failed (FAILED); refunds go to 'delivery'" in nights[2]
    assert "StepUnavailable: exit code 5" in nights[2]
    assert log.rstrip().endswith("refunds go to 'billing'")
