"""Does a site in a folder behave like a site?"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from cesai.demo import processes
from cesai.demo.ports import Ports
from cesai.demo.slurm import SiteSpec, SiteTrouble, SlurmSite, steps, version
from cesai.demo.slurm.config import Layout, read_version, slurm_conf

SECONDS = 60


def wait_for(claim, *, seconds=SECONDS):
    deadline = time.monotonic() + seconds
    while not (found := claim()):
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.05)
    return found


def submit(site, *words, script, account=None):
    line = ["sbatch", "--parsable", "--output=%j.out", *words]
    return site.run(line, given=f"#!/bin/sh\n{script}\n", account=account).stdout.strip()


def state(site, job):
    return site.run(["sacct", "-nXP", "-j", job, "-o", "state"], check=False).stdout.strip()


def test_a_version_is_read_from_what_the_daemon_says():
    assert read_version("slurm-wlm 22.05.8\n") == (22, 5, 8)
    assert read_version("slurm 24.11.5") > (23, 2)
    with pytest.raises(ValueError, match="names no Slurm version"):
        read_version("command not found")


def test_every_node_has_a_port_of_its_own(tmp_path):
    spec = SiteSpec("juelich", "h100", nodes=3)
    layout = Layout(tmp_path, tmp_path, Ports(tmp_path / "ports.json").of, "me", "me")
    lines = [line for line in slurm_conf(spec, layout).splitlines() if line.startswith("NodeName=")]
    assert [line.split()[0] for line in lines] == ["NodeName=juelich-n1", "NodeName=juelich-n2", "NodeName=juelich-n3"]
    assert len({word for line in lines for word in line.split() if word.startswith("Port=")}) == 3


@pytest.mark.slurm
def test_a_job_over_two_nodes_gets_its_gpus_and_is_accounted_for(juelich):
    job = submit(juelich, "-Alegal-llm", "-N2", "--gres=gpu:h100:2", script="srun printenv CUDA_VISIBLE_DEVICES")
    wait_for(lambda: state(juelich, job) == "COMPLETED")
    assert (juelich.work / f"{job}.out").read_text().split() == ["0,1", "0,1"]
    said = juelich.run(["sacct", "-nXP", "-j", job, "-o", "alloctres,account"]).stdout
    assert "gres/gpu:h100=4" in said
    assert said.strip().endswith("legal-llm")


@pytest.mark.slurm
def test_a_job_runs_as_the_site_s_account_and_never_as_root(rwth):
    job = submit(rwth, "-Aspeech", script="id -un")
    wait_for(lambda: state(rwth, job) == "COMPLETED")
    assert (rwth.work / f"{job}.out").read_text().split() == [rwth.account.name]
    assert rwth.account.uid != 0


@pytest.mark.slurm
def test_two_sites_know_nothing_of_each_other(juelich, rwth):
    assert set(juelich.run(["sinfo", "-hN", "-o", "%N"]).stdout.split()) == {"juelich-n1", "juelich-n2"}
    assert rwth.run(["sacctmgr", "-nP", "show", "cluster", "format=cluster"]).stdout.split() == ["rwth"]
    credential = juelich.run(["munge", f"--socket={juelich.layout.munge}", "--no-input"]).stdout
    refused = rwth.run(["unmunge", f"--socket={rwth.layout.munge}"], given=credential, check=False)
    assert refused.returncode != 0


@pytest.mark.slurm
def test_slurmrestd_takes_our_token_and_no_other(juelich, rwth):
    dialect = "v0.0.38" if version() < (23,) else "v0.0.42"

    def ping(token):
        headers = {"X-SLURM-USER-NAME": juelich.account.name, "X-SLURM-USER-TOKEN": token}
        request = urllib.request.Request(f"{juelich.rest_url}/slurm/{dialect}/diag", headers=headers)  # noqa: S310  our own address
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310  our own address
            return json.load(answer)

    assert ping(juelich.token())["errors"] == []
    with pytest.raises(urllib.error.HTTPError):
        ping(rwth.token())


@pytest.mark.slurm
def test_a_killed_controller_comes_back_and_goes_on(rwth):
    before = rwth.pid("slurmctld")
    rwth.kill("slurmctld")
    assert rwth.restart("slurmctld") != before
    rwth.await_idle()
    job = submit(rwth, "-Achem-lm", script="true")
    wait_for(lambda: state(rwth, job) == "COMPLETED")


@pytest.mark.slurm
def test_a_frozen_controller_answers_nobody_until_it_thaws(rwth):
    rwth.freeze("slurmctld")
    try:
        assert rwth.run(["sbatch", "-Achem-lm", "--wrap=true"], check=False).returncode != 0
    finally:
        rwth.thaw("slurmctld")
    wait_for(lambda: rwth.run(["squeue", "-h"], check=False).returncode == 0)


@pytest.mark.slurm
@pytest.mark.usefixtures("needs_slurm")
def test_stop_leaves_no_process_and_start_goes_on_where_it_was(demo_runtime, open_folder):
    folder = open_folder / "aachen"
    spec = SiteSpec("aachen", "a100", nodes=1, projects=("speech",))
    site = SlurmSite(spec, folder, demo_runtime.account, Ports(folder.with_suffix(".json")))
    try:
        site.start()
        ended = submit(site, "-Aspeech", script="true")
        wait_for(lambda: state(site, ended) == "COMPLETED")
        running = submit(site, "-Aspeech", script="sleep 600")
        wait_for(lambda: steps.of(site.folder))
        pids = [site.pid(name) for name in site.keeper.names()] + steps.of(site.folder)
    finally:
        site.stop()
    assert not any(processes.is_alive(pid) for pid in pids)
    assert not site.layout.sockets.exists()

    again = SlurmSite(spec, folder, demo_runtime.account, Ports(folder.with_suffix(".json")))
    try:
        again.start()
        assert again.layout.port("slurmctld") == site.layout.port("slurmctld")
        assert state(again, ended) == "COMPLETED"
        assert int(submit(again, "-Aspeech", "--hold", script="true")) > int(running)
    finally:
        again.stop()


@pytest.mark.slurm
@pytest.mark.usefixtures("needs_slurm")
def test_what_a_killed_run_left_behind_is_ended_by_the_next(demo_runtime, open_folder):
    folder = open_folder / "bonn"
    spec = SiteSpec("bonn", "a100", nodes=1)
    first = SlurmSite(spec, folder, demo_runtime.account, Ports(folder.with_suffix(".json")))
    second = SlurmSite(spec, folder, demo_runtime.account, Ports(folder.with_suffix(".json")))
    try:
        first.start()
        second.start()  # as after a kill -9 of the first one's process: nobody stopped anything
        assert not any(first.keeper.is_running(name) for name in first.keeper.names())
    finally:
        second.stop()
        first.stop()


@pytest.mark.slurm
def test_each_project_s_jobs_run_as_its_own_account(root_site):
    one, two = root_site.users.projects
    for project in (one, two):
        line = ["sbatch", "--parsable", f"-A{project.name}", f"--chdir={root_site.work / project.name}", "-oout"]
        job = root_site.run([*line, "--wrap=id -un; ls -d ../*/out || true"], account=project).stdout.strip()
        wait_for(lambda job=job: state(root_site, job) == "COMPLETED")
        said = (root_site.work / project.name / "out").read_text().split()
        assert said == [project.name, f"../{project.name}/out"]
    assert root_site.run(["ls", root_site.work / one.name], account=two, check=False).returncode != 0


@pytest.mark.slurm
def test_the_agent_submits_as_a_project_by_sudo_and_by_nothing_else(root_site):
    users = root_site.users
    one = users.projects[0]
    line = ["sudo", "-n", "-u", one.name, "sbatch", "--parsable", f"-A{one.name}"]
    line += [f"--chdir={root_site.work / one.name}", "-osudo.out", "--wrap=id -un"]
    job = root_site.run(line, account=users.agent).stdout.strip()
    wait_for(lambda: state(root_site, job) == "COMPLETED")
    assert (root_site.work / one.name / "sudo.out").read_text().split() == [one.name]
    for forbidden in ("root", root_site.account.name):
        assert root_site.run(["sudo", "-n", "-u", forbidden, "id"], account=users.agent, check=False).returncode != 0


@pytest.mark.slurm
@pytest.mark.usefixtures("needs_slurm")
def test_a_folder_that_the_account_cannot_enter_is_refused_with_a_sentence(demo_runtime, tmp_path):
    if demo_runtime.account.is_me:
        pytest.skip("we can enter our own folders")
    site = SlurmSite(SiteSpec("bonn", "a100"), Path(tmp_path) / "site", demo_runtime.account, Ports(tmp_path / "p"))
    with pytest.raises(SiteTrouble, match="cannot enter"):
        site.start()
