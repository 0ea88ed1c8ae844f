"""The promotion story, played offline: what its log says is what happened."""

from __future__ import annotations

import promotion_offline
import pytest


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


def test_a_winner_that_fails_its_smoke_evaluation_never_reaches_production(server, capfd):
    """The night's rows say yes, the gate too; rows of another source say no: the tag goes back by itself."""
    from langsmith.utils import LangSmithNotFoundError

    smoke = promotion_offline.smoke_rows()
    for row in smoke:
        if "refund" in row["inputs"]["ticket"]:
            row["outputs"] = {"label": "billing"}
    with promotion_offline.world(smoke) as here:
        state = here.night(1, "labels disagree", promotion_offline.rows(start=40))
        assert (state.name, state.type.value) == ("Refused", "COMPLETED")
        assert promotion_offline.standing(here.client) == "billing"
        with pytest.raises(LangSmithNotFoundError):
            here.client.pull_prompt("triage:staging", skip_cache=True)
    log = capfd.readouterr().out
    assert "gate passed, -/triage:staging moved" in log
    assert "smoke: 1.00 -> 0.50 on 24 rows" in log
    assert "smoke evaluation failed, rolled back" in log
    assert "production is now" not in log
