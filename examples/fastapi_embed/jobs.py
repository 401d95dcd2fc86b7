"""A list of jobs as a reducer. The page, the API and the background job share it."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from durafold import Reject

Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Job(Frozen):
    id: int
    title: str
    percent: int = 0


class Jobs(Frozen):
    jobs: list[Job] = []


class Add(Frozen):
    type: Literal["add"] = "add"
    title: Title


class Progress(Frozen):
    type: Literal["progress"] = "progress"
    id: int
    percent: int = Field(ge=0, le=100)


JobAction = Annotated[Add | Progress, Field(discriminator="type")]


def job_reducer(state: Jobs, action: JobAction) -> Jobs:
    match action:
        case Add(title=title):
            return Jobs(jobs=[*state.jobs, Job(id=len(state.jobs) + 1, title=title)])
        case Progress(id=id, percent=percent):
            # Two workers may have taken the same job: the second one's step back is refused everywhere.
            if not any(job.id == id and job.percent < percent for job in state.jobs):
                raise Reject(f"job {id} is there already")
            moved = [j.model_copy(update={"percent": percent}) if j.id == id else j for j in state.jobs]
            return Jobs(jobs=moved)


def next_step(state: Jobs) -> Job | None:
    """The job to work on: the oldest that is not done."""
    return next((job for job in state.jobs if job.percent < 100), None)
